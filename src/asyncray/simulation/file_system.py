"""The files of a simulated machine: what its processes see, and what a loss of power leaves of it."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from typing import TypeAlias

from asyncray.store.disk import Buffers, check_same_folder, views_of


class FileSystem:
    """Without time and without awaits: every operation has happened when it returns. They raise OSError.

    What was not synced is lost with the power, from the last to the first: of what was done to a file a random prefix
    survives, down to a part of one write, and so it is with the names of each folder. One knows nothing of the other:
    a rename may survive the bytes of what was renamed.
    """

    def __init__(self, random: random.Random) -> None:
        self.used = 0
        """Bytes in files. It may exceed the capacity once power was lost, since that can bring removed files back."""
        self.nameless = 0
        """Bytes of files without names, which are gone when those who use them are."""
        self._random = random
        self._root = _Folder()

    def files(self) -> dict[str, int]:
        """The sizes of all files, by their paths, in the order of these."""
        return {path: len(file.content) for path, file in sorted(_walk("", self._root))}

    def write(self, path: str, buffers: Buffers, limit: int, capacity: int) -> None:
        """Writes the first `limit` bytes into an emptied file. Raises ENOSPC when the disk is full, having written
        what fitted."""
        file = self._open(path)
        self.used -= len(file.content)
        file.truncate()
        self._extend(file, buffers, limit, capacity)

    def append(self, path: str, buffers: Buffers, limit: int, capacity: int) -> int:
        """The same at the end of the file; returns where that was."""
        file = self._open(path)
        begin = len(file.content)
        self._extend(file, buffers, limit, capacity)
        return begin

    def read(self, path: str) -> bytes:
        return bytes(self._file(path).content)

    def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int:
        view = memoryview(buffer)
        content = memoryview(self._file(path).content)[offset : offset + len(view)]
        view[: len(content)] = content
        return len(content)

    def sync(self, path: str, share: float = 1.0) -> None:
        """With a smaller `share` it is interrupted: that of the file's new bytes lasts, and no name does."""
        node = self._find(path)
        if isinstance(node, _File):
            node.sync(share)
        elif share == 1:
            node.sync()
        if share == 1 and node is not self._root:
            self._folder_of(path)[0].sync()

    def rename(self, path: str, new_path: str) -> None:
        check_same_folder(path, new_path)
        folder, name = self._folder_of(path)
        node, new_name = self._find(path), os.path.basename(new_path)
        old = folder.entries.get(new_name)
        if old is node:
            return
        if isinstance(node, _File) and isinstance(old, _Folder):
            raise _error(errno.EISDIR, new_path)
        if isinstance(node, _Folder) and isinstance(old, _File):
            raise _error(errno.ENOTDIR, new_path)
        self._let_go(old, new_path)
        folder.change({name: None, new_name: node})

    def remove(self, path: str) -> None:
        folder, name = self._folder_of(path)
        self._let_go(self._find(path), path)
        folder.change({name: None})

    def clear(self, path: str) -> None:
        """Removes all files below a folder, if it is there."""
        for file in [file for file in self.files() if file.startswith(f"{path}/")]:
            self.remove(file)

    def make_folder(self, path: str) -> None:
        folder = self._root
        for name in _parts(path):
            node = folder.entries.get(name)
            if isinstance(node, _File):
                raise _error(errno.EEXIST, path)
            if node is None:
                node = _Folder()
                folder.change({name: node})
                folder.sync()
            folder = node

    def names(self, path: str) -> list[str]:
        node = self._find(path)
        if isinstance(node, _File):
            raise _error(errno.ENOTDIR, path)
        return sorted(node.entries)

    def size(self, path: str) -> int:
        """Of a file; 0 for a folder."""
        node = self._find(path)
        return len(node.content) if isinstance(node, _File) else 0

    def reserve(self, size: int, capacity: int) -> None:
        """Room for a file without a name. Raises ENOSPC, and takes nothing then."""
        if size > capacity - self.used - self.nameless:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.nameless += size

    def give_back(self, size: int) -> None:
        self.nameless -= size

    # ---- what happens to the medium

    def power_lost(self) -> None:
        """What was synced stays; of the rest chance decides."""
        self._root.recover(self._random)
        self.used = sum(len(file.content) for _, file in _walk("", self._root))

    def corrupt(self, path: str) -> None:
        """Flips a bit of a file that is not empty, and tells nobody."""
        content = self._file(path).content
        content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)

    # ----

    def _extend(self, file: _File, buffers: Buffers, limit: int, capacity: int) -> None:
        fitting = max(0, min(limit, capacity - self.used - self.nameless))
        left = fitting
        for view in views_of(buffers):
            file.content.extend(view[:left])
            left -= min(left, view.nbytes)
        self.used += fitting
        if fitting < limit:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _let_go(self, node: _Node | None, path: str) -> None:
        if isinstance(node, _File):
            self.used -= len(node.content)
        elif node is not None and node.entries:
            raise _error(errno.ENOTEMPTY, path)

    def _open(self, path: str) -> _File:
        """The file, which is made if there is none."""
        folder, name = self._folder_of(path)
        if name not in folder.entries:
            folder.change({name: _File()})
        return self._file(path)

    def _file(self, path: str) -> _File:
        node = self._find(path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        return node

    def _folder_of(self, path: str) -> tuple[_Folder, str]:
        """Where its name stands, if it does, and the name. Raises EBUSY for the root."""
        if not (parts := _parts(path)):
            raise _error(errno.EBUSY, path)
        return self._descend(parts[:-1], path), parts[-1]

    def _find(self, path: str) -> _Node:
        if not (parts := _parts(path)):
            return self._root
        node = self._descend(parts[:-1], path).entries.get(parts[-1])
        if node is None:
            raise _error(errno.ENOENT, path)
        return node

    def _descend(self, names: list[str], path: str) -> _Folder:
        folder = self._root
        for name in names:
            node = folder.entries.get(name)
            if node is None:
                raise _error(errno.ENOENT, path)
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, path)
            folder = node
        return folder


class _File:
    """Its contents since the last sync, one for each time it was emptied and written anew; the last is what is read."""

    __slots__ = ("_lasting", "_versions")

    def __init__(self) -> None:
        self._versions = [bytearray()]
        self._lasting = 0
        """How many bytes of the first version cannot be lost."""

    @property
    def content(self) -> bytearray:
        return self._versions[-1]

    def truncate(self) -> None:
        self._versions.append(bytearray())

    def sync(self, share: float) -> None:
        if share == 1:
            del self._versions[:-1]
            self._lasting = len(self.content)
        elif len(self._versions) == 1:
            self._lasting += int((len(self.content) - self._lasting) * share)

    def recover(self, random: random.Random) -> None:
        version = random.randrange(len(self._versions))
        content = self._versions[version]
        self._lasting = random.randint(0 if version else self._lasting, len(content))
        self._versions = [content[: self._lasting]]


class _Folder:
    """Its names as processes see them, as the medium has them, and the changes between the two."""

    __slots__ = ("_changes", "_lasting", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, _Node] = {}
        self._lasting: dict[str, _Node] = {}
        self._changes: list[dict[str, _Node | None]] = []
        """Each is made as a whole or not at all; None removes a name."""

    def change(self, change: dict[str, _Node | None]) -> None:
        self._changes.append(change)
        _apply(change, self.entries)

    def sync(self) -> None:
        self._lasting = dict(self.entries)
        self._changes.clear()

    def recover(self, random: random.Random) -> None:
        for change in self._changes[: random.randint(0, len(self._changes))]:
            _apply(change, self._lasting)
        self.entries = dict(self._lasting)
        self._changes.clear()
        for node in self.entries.values():
            node.recover(random)


_Node: TypeAlias = _File | _Folder


def _apply(change: dict[str, _Node | None], entries: dict[str, _Node]) -> None:
    for name, node in change.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _walk(path: str, folder: _Folder) -> Iterator[tuple[str, _File]]:
    for name, node in folder.entries.items():
        if isinstance(node, _File):
            yield f"{path}/{name}", node
        else:
            yield from _walk(f"{path}/{name}", node)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
