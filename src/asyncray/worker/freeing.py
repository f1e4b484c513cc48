"""Values that are freed although references to them live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asyncray import messages
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime


class Freeing:
    """An owner takes the value from the stores and tells the borrowers; a borrower asks the owner. Loop thread only."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.peers.handlers |= {messages.DISCARD: self._on_discard, messages.DISCARDED: self._on_discarded}

    def free(self, references: Sequence[Reference]) -> None:
        """Nobody can read the values from now on, but for what was read before."""
        objects = self._runtime.objects
        borrowed: dict[bytes, list[Reference]] = {}
        for reference in references:
            if reference.owner is not None:
                borrowed.setdefault(reference.owner[0], []).append(reference)
                objects.discard(reference)
        self._free_owned(reference for reference in references if reference.owner is None)
        for of_one in borrowed.values():
            owner = of_one[0].owner
            assert owner is not None
            self._runtime.peers.link(owner).send((messages.DISCARD, [reference.id for reference in of_one]))

    def _free_owned(self, references: Iterable[Reference]) -> None:
        by_borrower: dict[bytes, list[bytes]] = {}
        for reference in references:
            self._runtime.objects.discard(reference)
            for process_id in reference.borrowers or ():
                by_borrower.setdefault(process_id, []).append(reference.id)
        for process_id, ids in sorted(by_borrower.items()):
            link = self._runtime.peers.find(process_id)
            if link is not None:
                link.send((messages.DISCARDED, ids))

    def _on_discard(self, link: PeerLink, ids: list[bytes]) -> None:
        owned = map(self._runtime.ownership.owned, ids)
        self._free_owned([reference for reference in owned if reference is not None])

    def _on_discarded(self, link: PeerLink, ids: list[bytes]) -> None:
        for object_id in ids:
            reference = self._runtime.ownership.references.find(object_id, link.process_id)
            if reference is not None:
                self._runtime.objects.discard(reference)
