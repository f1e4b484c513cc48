"""Objects on disk: writes them when memory gets short, reads them when somebody wants them, removes their files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from asyncray.bounded import Remembered
from asyncray.config import Config
from asyncray.errors import AsyncrayError, ObjectLostError
from asyncray.ids import object_of
from asyncray.node.background import Background
from asyncray.store.arena import SharedMemory
from asyncray.store.checksum import checksum
from asyncray.store.external import SpillStore
from asyncray.store.spill_files import Extent
from asyncray.store.spilling import Batch, Spilling
from asyncray.store.table import NODE, ObjectTable

_log = logging.getLogger(__name__)

_UNREADABLE_KEPT: Final = 1000
_DAMAGED: Final = "was spilled to disk, and what is read from there is not what was written"


class SpillManager:
    """A part of the store manager. What it decides is in `spilling.py`."""

    def __init__(
        self,
        disk_of: Callable[[str], SpillStore],
        directories: Sequence[str],
        config: Config,
        background: Background,
        allocate: Callable[[bytes, int, int], Awaitable[int]],
        on_progress: Callable[[], None],
    ) -> None:
        """`disk_of(path)`: where that is. `allocate(key, size, priority)`: a block to read into, for which it may wait.
        `on_progress`: there is memory that can be evicted, or no hope of it."""
        self._disk_of = disk_of
        self._directories = directories
        self._config = config
        self._background = background
        self._allocate = allocate
        self._on_progress = on_progress
        self.on_restored: Callable[[bytes], None] = lambda key: None
        self.on_unreadable: Callable[[bytes, AsyncrayError], None] = lambda key, error: None
        self._made: dict[str, None] = {}
        """Directories that are there."""
        self._restoring: dict[bytes, None] = {}
        self.unreadable: Remembered[bytes, None] = Remembered(_UNREADABLE_KEPT)
        """Keys of objects that are on disk, and could not be read at the last attempt."""
        self._left: list[str] = []
        """Files that could not be removed: to be tried again when the disk works."""
        self._timer: asyncio.TimerHandle | None = None

    def use(self, table: ObjectTable, arena: SharedMemory) -> None:
        self._table = table
        self._arena = arena
        config = self._config
        self.decisions = Spilling(
            table,
            self._directories,
            threshold=config.spill_threshold,
            file_size=config.spill_file_size,
            retry_delay=config.spill_retry_delay,
        )

    async def stop(self) -> None:
        """Removes what is left. The tasks must have ended."""
        if self._timer is not None:
            self._timer.cancel()
        for directory in self._made:
            disk = self._disk_of(directory)
            with contextlib.suppress(OSError):
                for name in await disk.names(directory):
                    with contextlib.suppress(OSError):
                        await disk.remove(f"{directory}/{name}")
                await disk.remove(directory)

    def reclaiming(self) -> bool:
        """Whether more memory will be available soon."""
        return self.decisions.reclaiming(self._now())

    def consider(self, wanted: int) -> None:
        """Memory is used. `wanted`: bytes that somebody waits for."""
        now = self._now()
        while (batch := self.decisions.next(wanted, now)) is not None:
            self._background.spawn(self._write(batch), name="spill objects")
        retry = self.decisions.next_retry(now) if wanted and not self.decisions.busy else None
        if retry is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(retry, self._retry)

    def restore(self, key: bytes, priority: int) -> None:
        """Brings an object back into the arena, and calls `on_restored`, or `on_unreadable`."""
        if key not in self._restoring and not self._table.is_written_by(NODE, key):
            self._restoring[key] = None
            self._background.spawn(self._restore(key, priority), name="restore an object")

    def remove_files(self) -> None:
        """Those of which nothing is needed any more."""
        files = self._table.files
        if files.removable:
            paths, files.removable = files.removable, []
            self._background.spawn(self._remove(paths), name="remove spilled objects")

    # ----

    async def _write(self, batch: Batch) -> None:
        blocks = batch.blocks
        views = [self._arena.view(block.offset or 0, block.size) for block in blocks]
        disk, directory = self._disk_of(batch.path), batch.directory.path
        checksums: list[int] = []
        try:
            try:
                if directory not in self._made:
                    await disk.make_folder(directory)
                    self._made[directory] = None
                checksums = await asyncio.to_thread(lambda: [checksum(view) for view in views])
                await disk.write(batch.path, views)
            except OSError as error:
                why = f"{error.strerror or error} ({batch.size} bytes in {len(blocks)} objects)"
                known = batch.directory.trouble  # it is tried again every second: one line says so
                _log.log(logging.DEBUG if known else logging.WARNING, "cannot spill objects to %s: %s", batch.path, why)
                if error.errno == errno.ENOENT:
                    self._made.pop(directory, None)  # somebody has removed it: it is made again
                self.decisions.failed(batch, why, self._now())
                await self._remove([batch.path])
            else:
                self.decisions.written(batch, checksums)
                self._table.files.removable += self._left
                self._left = []
        except asyncio.CancelledError:
            if batch.directory.busy:
                self.decisions.failed(batch, "the node stops", self._now())
            raise
        self._on_progress()

    def _retry(self) -> None:
        self._timer = None
        self._on_progress()

    async def _restore(self, key: bytes, priority: int) -> None:
        extent = self._table.files.find(key)
        if extent is None:  # it was freed, or made once more, before this began
            del self._restoring[key]
            self.on_restored(key)
            return
        self._table.files.open(extent.path)
        try:
            offset = await self._allocate(key, extent.size, priority)
            try:
                await self._read(key, extent, offset)
            except BaseException:
                self._table.abort(NODE, key)
                raise
            self._table.restored(key)
            self.unreadable.pop(key, None)
        except AsyncrayError as error:
            del self._restoring[key]
            self.on_unreadable(key, error)
        except asyncio.CancelledError:
            del self._restoring[key]
            raise
        else:
            del self._restoring[key]
            self.on_restored(key)
        finally:
            self._table.files.close(extent.path)
        self._on_progress()

    async def _read(self, key: bytes, extent: Extent, offset: int) -> None:
        """Raises ObjectLostError."""
        block = self._arena.writable(offset, extent.size)
        try:
            size = await self._disk_of(extent.path).read_into(extent.path, extent.offset, block)
        except OSError as error:
            _log.warning("cannot read the object %s from %s: %s", object_of(key).hex(), extent.path, error)
            self.unreadable[key] = None
            raise ObjectLostError(f"was spilled to {extent.path}, which cannot be read: {error}") from error
        if size == extent.size and await asyncio.to_thread(checksum, block) == extent.checksum:
            return
        _log.error(
            "the object %s is lost: it %s (%s, %d bytes at %d)",
            object_of(key).hex(),
            _DAMAGED,
            extent.path,
            extent.size,
            extent.offset,
        )
        if self._table.files.find(key) is extent:
            self._table.spoiled(key)
        raise ObjectLostError(f"{_DAMAGED}: {extent.path}")

    async def _remove(self, paths: list[str]) -> None:
        for path in paths:
            try:
                await self._disk_of(path).remove(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                _log.warning("cannot remove %s: %s", path, error)
                self._left.append(path)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
