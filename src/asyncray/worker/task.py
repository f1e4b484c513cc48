"""What a process keeps of the tasks it has submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from asyncray.resources import Resources

if TYPE_CHECKING:
    from asyncray.worker.reference import Reference


class Template:
    """What all calls of one function (or method) with the same options share. Sent once per link."""

    __slots__ = (
        "average",
        "demand",
        "exported",
        "function_id",
        "is_method",
        "key",
        "max_retries",
        "name",
        "number",
        "num_returns",
        "waiting",
    )

    def __init__(
        self,
        number: int,
        function_id: bytes,
        name: str,
        num_returns: int,
        *,
        is_method: bool = False,
        demand: Resources | None = None,
        max_retries: int = 0,
    ) -> None:
        self.number = number
        self.function_id = function_id
        self.name = name
        self.num_returns = num_returns
        self.is_method = is_method
        self.demand: Resources = demand or {}
        self.key = tuple(sorted(self.demand.items()))
        self.max_retries = max_retries
        self.average: float | None = None
        """Running average of the execution time, in seconds; None before the first result."""
        self.exported = is_method
        """Whether the function table has the function: tasks wait until it has."""
        self.waiting: list[PendingTask] = []

    def observe(self, microseconds: int) -> None:
        seconds = microseconds * 1e-6
        self.average = seconds if self.average is None else self.average + 0.2 * (seconds - self.average)


class Lane(Protocol):
    """Where tasks were sent: a leased worker, or an actor."""

    def completed(self, task: PendingTask, microseconds: int) -> None: ...


class PendingTask:
    """A submitted task without a result yet. A million may be queued: it holds only what differs."""

    __slots__ = ("alone", "arguments", "held", "id", "lane", "node_id", "references", "retries", "returns", "template")

    def __init__(
        self, task_id: bytes, template: Template, arguments: bytes, returns: Reference | list[Reference]
    ) -> None:
        self.id = task_id
        self.template = template
        self.arguments = arguments
        self.returns = returns
        self.references: list[list[Any]] | None = None
        """Top-level references: see worker/arguments.py."""
        self.held: list[Reference] | None = None
        """References that live at least until the result is there."""
        self.node_id: bytes | None = None
        """Another node than this process's, where its arguments are."""
        self.retries = template.max_retries
        self.alone = self.retries == 0
        """Not sent ahead behind other tasks: if the worker dies, it must be known which task ran."""
        self.lane: Lane | None = None

    def return_references(self) -> list[Reference]:
        return self.returns if isinstance(self.returns, list) else [self.returns]
