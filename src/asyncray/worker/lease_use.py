"""What leased workers are used for, as their nodes are told: a node whose memory runs short chooses by that whom to
end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from asyncray import messages
from asyncray.worker.pipeline import Lease
from asyncray.worker.task import PendingTask

if TYPE_CHECKING:
    from asyncray.worker.node_link import Nodes


def use_for(task: PendingTask) -> tuple[str, bool]:
    """Name of the task; whether it runs again if its worker dies."""
    return task.template.name, task.retries != 0


class LeaseUse:
    """Tells nodes of tasks for which a lease was not requested, if they take long, or cannot be retried.

    Of short ones there are too many, and each has gone before it would matter.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def tell(self, lease: Lease, task: PendingTask) -> None:
        """The lease's worker runs the task, or is about to."""
        use = use_for(task)
        if lease.told is not None or lease.use != use:
            lease.use = use
            node = self._nodes.find(lease.node)
            if node is not None:
                node.send(messages.LEASE_TASK, lease.lease_id, *use)
        lease.told = task

    def look(self, leases: Iterable[Lease]) -> None:
        """Called from time to time: what runs since the last time takes long."""
        for lease in leases:
            running = next(iter(lease.in_flight.values()), None)
            if running is not None and running is lease.seen and running is not lease.told:
                self.tell(lease, running)
            lease.seen = running
