"""The rare calls that a node manager answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncray.node.memory_report import ROWS_BY_DEFAULT
from asyncray.proto import Empty, MemoryRequest, NodeBase, NodeInfo, NodeMemory, NodeStatus
from asyncray.resources import to_amounts

if TYPE_CHECKING:
    from asyncray.node.service import NodeManager, NodeSettings


class NodeHandlers(NodeBase):
    """Reads what the managers know."""

    def __init__(self, settings: NodeSettings, node: NodeManager) -> None:
        self._settings = settings
        self._node = node

    async def memory(self, request: MemoryRequest) -> NodeMemory:
        return await self._node.memory.report(request.rows or ROWS_BY_DEFAULT, request.patience)

    async def status(self, empty: Empty) -> NodeStatus:
        node, identity = self._node, self._settings.identity
        statistics = node.store.table.statistics()
        return NodeStatus(
            node=NodeInfo(
                node_id=identity.node_id,
                address=node.address,
                alive=True,
                hostname=identity.hostname,
                pid=identity.pid,
                total=to_amounts(node.resources.total),
                available=to_amounts(node.resources.available),
                labels=identity.labels,
                session_dir=identity.session_dir,
                head=identity.head,
            ),
            workers=len(node.pool.workers),
            idle_workers=node.pool.idle_count(),
            leases=len(node.leases.leases),
            queued_leases=len(node.leases.queue),
            store_capacity=statistics.capacity,
            store_used=statistics.used,
            store_objects=statistics.objects,
            pins=statistics.pins,
            store_largest_free=node.store.table.allocator.largest_free,
            received_objects=node.transfers.received_objects,
            received_bytes=node.transfers.received_bytes,
            store_overflow_used=statistics.overflow_used,
            spilled_objects=statistics.spilled_objects,
            spilled_bytes=statistics.spilled_bytes,
            spill_files=statistics.spill_files,
            restores=statistics.restores,
        )
