"""Which node to ask for an object next: a state machine without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_ATTEMPTS: Final = 3
"""A node that could not be reached, or was lost, is tried again, after the others: it may only have been slow."""


@dataclass(slots=True, eq=False)
class _Candidate:
    address: str
    failures: int = 0
    excluded: bool = False
    reasons: list[str] = field(default_factory=list)


class Sources:
    """The nodes that may have a copy of one object, and how trying them went.

    `next` names one; then comes one of `redirected`, `failed`, `excluded`, and `next` again.
    """

    def __init__(self, given: Iterable[object], own: bytes) -> None:
        """`given`: `[node_id, address]` each, in the order of preference. `own`: this node, which has no copy."""
        self.redirections = 0
        """How often a node has named another one."""
        self._candidates: dict[bytes, _Candidate] = {}
        self._preferred: bytes | None = None
        self._own = own
        self.add(given)

    def add(self, others: Iterable[object]) -> None:
        """More nodes that may have it, `[node_id, address]` each; what is no such pair is left out."""
        for other in others:
            match other:  # other processes have sent it
                case [bytes(node_id), str(address), *_] if node_id != self._own:
                    self._candidates.setdefault(node_id, _Candidate(address))

    def next(self) -> tuple[bytes, str] | None:
        """The id and address of the node to ask. None when there is none left."""
        preferred, self._preferred = self._preferred, None
        if preferred is not None and not self._candidates[preferred].excluded:
            return preferred, self._candidates[preferred].address
        left = [(node_id, known) for node_id, known in self._candidates.items() if not known.excluded]
        if not left:
            return None
        node_id, candidate = min(left, key=lambda item: item[1].failures)
        return node_id, candidate.address

    def failures(self, node_id: bytes) -> int:
        return self._candidates[node_id].failures

    def redirected(self, target: bytes, address: str) -> None:
        """The node that was asked names another one, and stays a source itself."""
        self.redirections += 1
        if target == self._own:
            return
        known = self._candidates.setdefault(target, _Candidate(address))
        known.excluded = False  # it has the object by now, whatever it had before
        self._preferred = target

    def failed(self, node_id: bytes, why: str) -> None:
        """It may work another time."""
        candidate = self._candidates[node_id]
        candidate.failures += 1
        candidate.excluded = candidate.failures >= _ATTEMPTS
        _note(candidate, why)

    def exclude(self, node_id: bytes, why: str) -> None:
        """It has no copy, or is dead."""
        candidate = self._candidates.get(node_id)
        if candidate is not None:
            candidate.excluded = True
            _note(candidate, why)

    def explain(self) -> str:
        """Why nobody is left: a part of a sentence."""
        tried = [
            f"node {node_id.hex()[:8]} at {candidate.address} ({', then '.join(candidate.reasons)})"
            for node_id, candidate in self._candidates.items()
        ]
        if not tried:
            return "is not in its node's store any more, and no other node is known to have it"
        return f"cannot be had from any node: tried {', '.join(tried)}"


def _note(candidate: _Candidate, why: str) -> None:
    if why not in candidate.reasons:
        candidate.reasons.append(why)
