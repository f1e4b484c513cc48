"""A copy of an object that another node reads, wherever this node has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Source:
    """`size` bytes that stay where they are until `close`. Loop thread only; the bytes may be read in any."""

    size: int
    offset: int | None
    """In the arena; None when the object is in a file only."""
    file: tuple[str, int] | None
    """Path and offset, when it is not in the arena."""
    checksum: int | None
    """Of the bytes (`spilling.checksum`), where it is known."""
    release: Callable[[], None] = field(repr=False)
    closed: bool = False

    def close(self) -> None:
        """May be called again."""
        if not self.closed:
            self.closed = True
            self.release()
