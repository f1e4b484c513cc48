"""Files: those of the operating system, reached without blocking the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

_T = TypeVar("_T")

Buffers = Sequence[bytes | bytearray | memoryview]
"""What is written one behind the other; each is contiguous, and must not change before the operation has ended."""

_MOST_BUFFERS: Final = 1024
"""Linux takes no more in one call (IOV_MAX)."""


class Disk(Protocol):
    """The files of one machine.

    Paths are absolute. Operations raise OSError, whose `errno` says why: ENOENT, ENOSPC, EIO and whatever else the
    system gives. One that is cancelled ends first, so that nothing reads or fills buffers which are no longer its own.

    What was written survives the process, but a loss of power only once `sync` has returned. So a small file is
    replaced safely by `write` of another one beside it, `sync` of that, `rename` to the name, and `sync` of the name.
    """

    async def write(self, path: str, buffers: Buffers) -> None:
        """A file with just this, in place of what it held. After an error it may hold a part."""
        ...

    async def append(self, path: str, buffers: Buffers) -> int:
        """Adds to the end of a file, which is made if there is none; returns the offset at which this begins.

        After an error a part may stand there, and what is added next comes behind it. One at a time for each file.
        """
        ...

    async def read(self, path: str) -> bytes:
        """The whole of a file."""
        ...

    async def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int:
        """Fills a buffer of bytes; returns how many it got: all, but where the file ends before."""
        ...

    async def sync(self, path: str) -> None:
        """Makes a file, or what a folder lists, survive a loss of power, and its name with it.

        Of a folder that is the names and not the contents. It is `sync(folder)` that makes removals last.
        """
        ...

    async def rename(self, path: str, new_path: str) -> None:
        """Gives a file another name in the same folder, in place of the file that has it. EXDEV for another folder."""
        ...

    async def remove(self, path: str) -> None:
        """Removes a file, or a folder that is empty (else ENOTEMPTY)."""
        ...

    async def make_folder(self, path: str) -> None:
        """Makes a folder that lasts, and those above it, unless they exist.

        PermissionError (EPERM) if others can put files there: it belongs to another user, or is a link.
        """
        ...

    async def names(self, folder: str) -> list[str]:
        """The names of the files and folders in it, sorted."""
        ...

    async def free(self, folder: str) -> int:
        """Bytes for which there is room."""
        ...


class LocalDisk:
    """The file systems of this machine. An operation runs as a whole in a thread of the loop's executor."""

    async def write(self, path: str, buffers: Buffers) -> None:
        await _run(_write, path, buffers, os.O_TRUNC)

    async def append(self, path: str, buffers: Buffers) -> int:
        return await _run(_write, path, buffers, os.O_APPEND)

    async def read(self, path: str) -> bytes:
        return await _run(_read, path)

    async def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int:
        return await _run(_read_into, path, offset, buffer)

    async def sync(self, path: str) -> None:
        await _run(_sync, path)

    async def rename(self, path: str, new_path: str) -> None:
        check_same_folder(path, new_path)
        await _run(os.replace, path, new_path)

    async def remove(self, path: str) -> None:
        await _run(_remove, path)

    async def make_folder(self, path: str) -> None:
        await _run(_make_own_folder, path)

    async def names(self, folder: str) -> list[str]:
        return sorted(await _run(os.listdir, folder))

    async def free(self, folder: str) -> int:
        return await _run(_free, folder)


async def to_its_end(operation: Awaitable[_T]) -> _T:
    """Its result; who is cancelled meanwhile learns of that when the operation has ended."""
    future = asyncio.ensure_future(operation)
    cancellation = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellation = error
    try:
        if cancellation is None:
            return future.result()
        if not future.cancelled():
            future.exception()  # nobody else looks at it
        raise cancellation
    finally:
        del future, cancellation  # what has been raised keeps this frame, which must not keep it in turn


def views_of(buffers: Buffers) -> list[memoryview]:
    """Their bytes, without a copy; those that are empty left out."""
    views = [memoryview(buffer) for buffer in buffers]
    return [view.cast("B") for view in views if view.nbytes]


def check_same_folder(path: str, new_path: str) -> None:
    """Raises OSError (EXDEV) if a rename would move the file: between two folders it cannot be made to last at once."""
    if os.path.dirname(path) != os.path.dirname(new_path):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path, None, new_path)


async def _run(function: Callable[..., _T], *args: Any) -> _T:
    # Only the daemons that use a disk pay for it (0.8 MB): the platform of every process has one.
    from aiofiles.os import wrap

    result: _T = await to_its_end(wrap(function)(*args))
    return result


def _write(path: str, buffers: Buffers, flag: int) -> int:
    """Writes behind what the file holds once it is open; returns where."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
    try:
        begin = os.lseek(descriptor, 0, os.SEEK_END)
        waiting = deque(views_of(buffers))
        while waiting:
            written = os.writev(descriptor, list(islice(waiting, _MOST_BUFFERS)))
            while waiting and written >= waiting[0].nbytes:
                written -= waiting.popleft().nbytes
            if written:
                waiting[0] = waiting[0][written:]
        return begin
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _read_into(path: str, offset: int, buffer: bytearray | memoryview) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        view, done = memoryview(buffer), 0
        while done < view.nbytes and (count := os.preadv(descriptor, [view[done:]], offset + done)):
            done += count
        return done
    finally:
        os.close(descriptor)


def _sync(path: str) -> None:
    for place in (path, os.path.dirname(path)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        os.rmdir(path)


def _make_own_folder(path: str) -> None:
    _make_folder(path)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "the folder was made by somebody else, or others may write to it", path)


def _make_folder(path: str) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    _sync(path)


def _free(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
