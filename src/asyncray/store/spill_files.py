"""Which spilled object is in which file, and when a file can go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the bytes of one object are."""

    path: str
    offset: int
    size: int
    checksum: int


@dataclass(slots=True)
class _File:
    live: dict[bytes, None] = field(default_factory=dict)
    readers: int = 0


class SpillFiles:
    """A file is removed as a whole, once none of its objects is needed and nobody reads it."""

    def __init__(self) -> None:
        self._extents: dict[bytes, Extent] = {}
        self._files: dict[str, _File] = {}
        self.live_bytes = 0
        """Of the objects that are needed."""
        self.removable: list[str] = []
        """Paths of files to be removed: whoever does it takes them from here."""

    def __len__(self) -> int:
        """Objects."""
        return len(self._extents)

    @property
    def files(self) -> int:
        """How many there are that are needed."""
        return len(self._files)

    def add(self, path: str, extents: Iterable[tuple[bytes, Extent]]) -> None:
        """A file is written, with these objects, of which none is in another one."""
        file = self._files[path] = _File()
        for key, extent in extents:
            self._extents[key] = extent
            file.live[key] = None
            self.live_bytes += extent.size
        self._drop_if_useless(path)

    def find(self, key: bytes) -> Extent | None:
        return self._extents.get(key)

    def open(self, path: str) -> None:
        """Somebody reads the file, until `close`."""
        self._files[path].readers += 1

    def close(self, path: str) -> None:
        self._files[path].readers -= 1
        self._drop_if_useless(path)

    def forget(self, key: bytes) -> None:
        """The object is not needed, or its bytes are spoiled."""
        extent = self._extents.pop(key)
        self.live_bytes -= extent.size
        del self._files[extent.path].live[key]
        self._drop_if_useless(extent.path)

    def _drop_if_useless(self, path: str) -> None:
        file = self._files[path]
        if not file.live and not file.readers:
            del self._files[path]
            self.removable.append(path)
