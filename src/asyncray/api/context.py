"""What a task can know of itself."""

from __future__ import annotations

from asyncray.api.connection import require_runtime
from asyncray.errors import AsyncrayError
from asyncray.worker import current
from asyncray.worker.context import current_task


class RuntimeContext:
    """Where the calling code runs. Ids are in hexadecimal."""

    def get_job_id(self) -> str:
        return (require_runtime().job_id or b"").hex()

    def get_node_id(self) -> str:
        return require_runtime().membership.node_id.hex()

    def get_worker_id(self) -> str:
        return require_runtime().process_id.hex()

    def get_task_id(self) -> str | None:
        """None in the driver."""
        task = current_task.get()
        return task.task_id.hex() if task else None

    def get_task_name(self) -> str | None:
        """None in the driver."""
        task = current_task.get()
        return task.name if task else None

    def get_actor_id(self) -> str | None:
        """None outside of actors."""
        task = current_task.get()
        return task.actor_id.hex() if task and task.actor_id else None

    @property
    def namespace(self) -> str:
        return str(require_runtime().job.get("namespace", ""))


def get_runtime_context() -> RuntimeContext:
    """Raises AsyncrayError before `init`."""
    if current.get_runtime() is None:
        raise AsyncrayError("asyncray is not initialised: call init() first")
    return RuntimeContext()


def get_gpu_ids() -> list[int]:
    """Indices of the GPUs assigned to the running task."""
    task = current_task.get()
    return list(task.instances.get("GPU", [])) if task else []
