"""Data locality: a task goes to its arguments, where these are large, rather than they to it."""

from __future__ import annotations

from collections.abc import Sequence

from asyncray.messages import STORED
from asyncray.worker.arguments import Entry
from asyncray.worker.location import Place


def preferred_node(entries: Sequence[Entry], own: bytes, least: int) -> Place | None:
    """The node with most bytes of stored arguments; None for the own one.

    Another one has to have `least` bytes more than that, for it costs something, too, to go there.
    """
    sizes: dict[bytes, int] = {}
    addresses: dict[bytes, str] = {}
    for entry in entries:
        if entry[2] == STORED:
            node_id, address, size, _, copies = entry[3]
            for holder, where in ((node_id, address), *copies):
                sizes[holder] = sizes.get(holder, 0) + size
                addresses[holder] = where
    here = sizes.pop(own, 0)
    if not sizes:
        return None
    best = max(sizes, key=sizes.__getitem__)
    return [best, addresses[best]] if sizes[best] - here >= least else None
