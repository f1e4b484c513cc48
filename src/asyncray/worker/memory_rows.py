"""What this process holds, as `asyncray memory` shows it: the answer to REPORT."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.ids import object_of, owner_of
from asyncray.messages import ERROR, INLINE, STORED
from asyncray.worker.call_sites import RecordingOwnership
from asyncray.worker.location import Location
from asyncray.worker.node_link import NodeLink
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

Row = list[Any]
"""`[object_id, owner process_id, size in bytes, where, [type, ...], call site]`: plain values, as it travels."""

_AT_ONCE: Final = 5000
"""A million references must not hold up the loop: this many take about 10 ms."""


class MemoryRows:
    """Of its references and pins, the largest first."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.nodes.handlers[messages.REPORT] = self._on_report

    def _on_report(self, node: NodeLink, request_id: int, limit: int) -> None:
        self._runtime.spawn(self._report(node, request_id, limit), name="memory report")

    async def _report(self, node: NodeLink, request_id: int, limit: int) -> None:
        rows, left_out = await self.largest(limit)
        node.send(messages.REFERENCES, request_id, rows, left_out)

    async def largest(self, limit: int) -> tuple[list[Row], int]:
        """`limit` rows at the most, and how many there are besides. Loop thread only."""
        runtime = self._runtime
        pins = {pin.key: pin for pin in runtime.store.pins()}
        with runtime.ownership_lock:
            table = runtime.ownership.references
            references = [*table.values(), *table.shadowed.values()]
        found: list[Row] = []
        count = 0
        for start in range(0, len(references), _AT_ONCE):
            rows = [row for one in references[start : start + _AT_ONCE] if (row := self._row(one, pins)) is not None]
            count += len(rows)
            found = heapq.nlargest(limit, [*found, *rows], key=lambda row: row[2])
            await asyncio.sleep(0)
        others = [
            [object_of(key), owner_of(key), pin.view.size, "store", ["PINNED_IN_MEMORY"], ""]
            for key, pin in pins.items()
        ]
        count += len(others)
        found = heapq.nlargest(limit, [*found, *others], key=lambda row: row[2])
        return found, count - len(found)

    def _row(self, reference: Reference, pins: dict[bytes, Any]) -> Row | None:
        """None for what holds no value: lineage alone. Takes the reference's pin out of `pins`."""
        value = reference.value  # read once: in other threads user code goes on
        owner = self._runtime.process_id if reference.owner is None else reference.owner[0]
        pinned = False
        if reference.state == STORED and isinstance(value, Location):
            where, size = "store", value.size
            pinned = pins.pop(value.key(reference.id), None) is not None
        elif reference.state in (INLINE, ERROR):
            where, size = (
                "process" if reference.state == INLINE else "error",
                len(value) if isinstance(value, bytes) else 0,
            )
        else:
            where, size = "pending", 0
        types = self._types(reference, pinned)
        return [reference.id, owner, size, where, types, self._call_site(reference.id)] if types else None

    def _types(self, reference: Reference, pinned: bool) -> list[str]:
        """Why it is kept, in the words of `ray memory`; the strongest reason first."""
        lane = self._runtime.actors.lanes.get(reference.id[:16])
        reasons = (
            ("ACTOR_HANDLE", lane is not None and lane.lifetime is reference),
            ("PINNED_IN_MEMORY", pinned),
            ("USED_BY_PENDING_TASK", reference.tasks > 0),
            ("CAPTURED_IN_OBJECT", reference.containers > 0),
            # Of another process; or, here at the owner, lent to one.
            ("BORROWED", reference.owner is not None or bool(reference.borrowers)),
            ("LOCAL_REFERENCE", reference.local > 0),
        )
        return [name for name, holds in reasons if holds]

    def _call_site(self, object_id: bytes) -> str:
        ownership = self._runtime.ownership
        return ownership.call_sites.get(object_id, "") if isinstance(ownership, RecordingOwnership) else ""
