"""What every disk does: the real one, and the one of the simulator."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.loop import VirtualLoop
from asyncray.store.disk import Disk, LocalDisk

MIB = 1024 * 1024


@dataclass(frozen=True)
class Machine:
    disk: Disk
    folder: str
    """An empty one."""
    run: Callable[[Coroutine[Any, Any, None]], None]

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"


@pytest.fixture(params=["local", "simulated"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "local":
        return Machine(LocalDisk(), str(tmp_path), asyncio.run)
    disk = SimulatedDisk(random.Random(0))

    async def start(main: Coroutine[Any, Any, None]) -> None:
        await disk.make_folder("/data")
        await main

    def run(main: Coroutine[Any, Any, None]) -> None:
        loop = VirtualLoop(horizon=3600)
        try:
            loop.run_until_complete(start(main))
        finally:
            loop.close()

    return Machine(disk, "/data", run)


async def error_of(operation: Coroutine[Any, Any, object]) -> int | None:
    with pytest.raises(OSError) as caught:
        await operation
    return caught.value.errno


def test_a_file_holds_what_was_written_from_several_buffers(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        await machine.disk.write(path, [b"one ", bytearray(b"two "), memoryview(b"a three")[2:], b""])
        assert await machine.disk.read(path) == b"one two three"

    machine.run(main())


def test_buffers_of_other_items_are_written_as_their_bytes(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        await machine.disk.write(path, [memoryview(b"12345678").cast("I"), memoryview(b"").cast("B")])
        assert await machine.disk.read(path) == b"12345678"

    machine.run(main())


def test_thousands_of_buffers_are_written_in_their_order(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        buffers = [f"{number}," * (number % 50) for number in range(5000)]
        await machine.disk.write(path, [text.encode() for text in buffers])
        assert (await machine.disk.read(path)).decode() == "".join(buffers)

    machine.run(main())


def test_a_file_without_bytes_exists(machine: Machine) -> None:
    async def main() -> None:
        await machine.disk.write(machine.path("file"), [])
        assert await machine.disk.read(machine.path("file")) == b""
        assert await machine.disk.names(machine.folder) == ["file"]

    machine.run(main())


def test_writing_a_file_that_exists_replaces_all_of_it(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        await machine.disk.write(path, [b"a long text"])
        await machine.disk.write(path, [b"short"])
        assert await machine.disk.read(path) == b"short"

    machine.run(main())


def test_what_is_appended_begins_where_the_file_ended(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("fused")
        assert await machine.disk.append(path, [b"first", b"!"]) == 0
        assert await machine.disk.append(path, [b"second"]) == 6
        assert await machine.disk.append(path, []) == 12
        assert await machine.disk.read(path) == b"first!second"

    machine.run(main())


def test_a_slice_of_a_file_is_read_into_memory_of_the_caller(machine: Machine) -> None:
    async def main() -> None:
        path, memory = machine.path("fused"), bytearray(b"." * 10)
        await machine.disk.write(path, [b"0123456789"])
        assert await machine.disk.read_into(path, 3, memoryview(memory)[2:6]) == 4
        assert memory == b"..3456...."

    machine.run(main())


def test_reading_ends_where_the_file_does(machine: Machine) -> None:
    async def main() -> None:
        path, memory = machine.path("file"), bytearray(b"." * 6)
        await machine.disk.write(path, [b"0123456789"])
        assert await machine.disk.read_into(path, 7, memory) == 3
        assert memory == b"789..."
        assert await machine.disk.read_into(path, 10, memory) == 0
        assert await machine.disk.read_into(path, 1000, memory) == 0
        assert await machine.disk.read_into(path, 0, bytearray()) == 0

    machine.run(main())


def test_large_files_come_back_as_they_were(machine: Machine) -> None:
    async def main() -> None:
        path, content = machine.path("file"), random.Random(0).randbytes(5 * MIB + 7)
        view = memoryview(content)
        await machine.disk.write(path, [view[:MIB], view[MIB : MIB + 1], view[MIB + 1 :]])
        memory = bytearray(3 * MIB)
        assert await machine.disk.read_into(path, MIB + 5, memory) == 3 * MIB
        assert memory == view[MIB + 5 : 4 * MIB + 5]
        assert await machine.disk.read(path) == content

    machine.run(main())


def test_a_small_file_is_replaced_by_way_of_another_one(machine: Machine) -> None:
    async def main() -> None:
        path, new_path = machine.path("table"), machine.path("table.new")
        await machine.disk.write(path, [b"old"])
        await machine.disk.write(new_path, [b"new"])
        await machine.disk.sync(new_path)
        await machine.disk.rename(new_path, path)
        await machine.disk.sync(path)
        assert await machine.disk.names(machine.folder) == ["table"]
        assert await machine.disk.read(path) == b"new"

    machine.run(main())


def test_a_file_does_not_change_when_it_is_renamed_to_its_own_name(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        await machine.disk.write(path, [b"content"])
        await machine.disk.rename(path, path)
        assert await machine.disk.read(path) == b"content"

    machine.run(main())


def test_a_file_cannot_be_renamed_into_another_folder(machine: Machine) -> None:
    async def main() -> None:
        await machine.disk.make_folder(machine.path("folder"))
        await machine.disk.write(machine.path("file"), [b"content"])
        assert await error_of(machine.disk.rename(machine.path("file"), machine.path("folder/file"))) == errno.EXDEV
        assert await machine.disk.names(machine.folder) == ["file", "folder"]

    machine.run(main())


def test_removed_files_are_gone_and_give_their_names_free(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("file")
        await machine.disk.append(path, [b"content"])
        await machine.disk.remove(path)
        assert await machine.disk.names(machine.folder) == []
        assert await error_of(machine.disk.read(path)) == errno.ENOENT
        assert await machine.disk.append(path, [b"again"]) == 0

    machine.run(main())


def test_what_does_not_exist_gives_enoent(machine: Machine) -> None:
    async def main() -> None:
        disk, path = machine.disk, machine.path("nothing")
        assert await error_of(disk.read(path)) == errno.ENOENT
        assert await error_of(disk.read_into(path, 0, bytearray(1))) == errno.ENOENT
        assert await error_of(disk.read_into(path, 0, bytearray())) == errno.ENOENT
        assert await error_of(disk.sync(path)) == errno.ENOENT
        assert await error_of(disk.rename(path, machine.path("something"))) == errno.ENOENT
        assert await error_of(disk.remove(path)) == errno.ENOENT
        assert await error_of(disk.names(path)) == errno.ENOENT
        assert await error_of(disk.free(path)) == errno.ENOENT
        assert await error_of(disk.write(f"{path}/file", [b"x"])) == errno.ENOENT
        assert await error_of(disk.append(f"{path}/file", [b"x"])) == errno.ENOENT

    machine.run(main())


def test_folders_are_made_with_those_above_them_and_only_once(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("spilled/node/objects")
        await machine.disk.make_folder(path)
        await machine.disk.make_folder(path)
        await machine.disk.write(f"{path}/b", [b"x"])
        await machine.disk.write(f"{path}/a", [b"y"])
        assert await machine.disk.names(path) == ["a", "b"]
        assert await machine.disk.names(machine.path("spilled")) == ["node"]
        await machine.disk.sync(path)

    machine.run(main())


@pytest.mark.parametrize("whose", ["a link", "open to all", "another user's"])
def test_a_folder_in_which_others_can_put_files_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    path = tmp_path / "spilled"
    if whose == "a link":
        path.symlink_to(tmp_path)
    else:
        path.mkdir(mode=0o700)
    if whose == "open to all":
        path.chmod(0o777)
    elif whose == "another user's":
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert asyncio.run(error_of(LocalDisk().make_folder(str(path)))) == errno.EPERM


def test_a_folder_is_removed_only_when_it_is_empty(machine: Machine) -> None:
    async def main() -> None:
        path = machine.path("folder")
        await machine.disk.make_folder(path)
        await machine.disk.write(f"{path}/file", [b"x"])
        assert await error_of(machine.disk.remove(path)) == errno.ENOTEMPTY
        await machine.disk.remove(f"{path}/file")
        await machine.disk.remove(path)
        assert await machine.disk.names(machine.folder) == []

    machine.run(main())


def test_folders_are_no_files_and_files_are_no_folders(machine: Machine) -> None:
    async def main() -> None:
        disk, file, folder = machine.disk, machine.path("file"), machine.path("folder")
        await disk.make_folder(folder)
        await disk.write(file, [b"x"])
        assert await error_of(disk.write(folder, [b"x"])) == errno.EISDIR
        assert await error_of(disk.append(folder, [b"x"])) == errno.EISDIR
        assert await error_of(disk.read(folder)) == errno.EISDIR
        assert await error_of(disk.read_into(folder, 0, bytearray(1))) == errno.EISDIR
        assert await error_of(disk.rename(file, folder)) == errno.EISDIR
        assert await error_of(disk.rename(folder, file)) == errno.ENOTDIR
        assert await error_of(disk.names(file)) == errno.ENOTDIR
        assert await error_of(disk.read(f"{file}/below")) == errno.ENOTDIR
        assert await error_of(disk.make_folder(file)) == errno.EEXIST

    machine.run(main())


def test_an_operation_that_is_cancelled_has_ended_when_its_caller_learns_of_it(machine: Machine) -> None:
    async def main() -> None:
        path, content = machine.path("file"), bytes(8 * MIB)
        writing = asyncio.create_task(machine.disk.write(path, [content]))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert len(await machine.disk.read(path)) == len(content)

        memory = bytearray(b"x" * len(content))
        reading = asyncio.create_task(machine.disk.read_into(path, 0, memory))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert memory == content

    machine.run(main())


def test_an_operation_that_fails_after_it_was_cancelled_is_cancelled(machine: Machine) -> None:
    async def main() -> None:
        reading = asyncio.create_task(machine.disk.read(machine.path("nothing")))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    machine.run(main())


def test_operations_on_different_files_run_side_by_side(machine: Machine) -> None:
    async def main() -> None:
        paths = [machine.path(f"file {number}") for number in range(50)]
        async with asyncio.TaskGroup() as group:
            for path in paths:
                group.create_task(machine.disk.append(path, [path.encode()]))
        assert [await machine.disk.read(path) for path in paths] == [path.encode() for path in paths]

    machine.run(main())


def test_there_is_room_for_something(machine: Machine) -> None:
    async def main() -> None:
        assert await machine.disk.free(machine.folder) > 0

    machine.run(main())


async def test_a_full_disk_gives_enospc() -> None:
    assert await error_of(LocalDisk().append("/dev/full", [b"x"])) == errno.ENOSPC


async def test_nobody_else_can_read_what_is_written(tmp_path: Path) -> None:
    disk, folder = LocalDisk(), str(tmp_path / "new" / "folder")
    await disk.make_folder(folder)
    await disk.write(f"{folder}/file", [b"secret"])
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(f"{folder}/file").st_mode & 0o777 == 0o600


async def test_the_loop_goes_on_while_the_disk_is_at_work(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)  # to open it for reading waits until somebody writes
    reading = asyncio.create_task(LocalDisk().read(fifo))
    await asyncio.to_thread(Path(fifo).write_bytes, b"not before this")
    assert await reading == b"not before this"


async def test_no_file_stays_open_after_an_operation(tmp_path: Path) -> None:
    disk, path = LocalDisk(), str(tmp_path / "file")
    await disk.write(path, [b"x"])
    await disk.sync(path)
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        await disk.append(path, [b"y"])
        await disk.read(path)
        await disk.read_into(path, 0, bytearray(3))
        await disk.sync(path)
        assert await error_of(disk.read_into(str(tmp_path), 0, bytearray(1))) == errno.EISDIR
    assert os.listdir("/proc/self/fd") == before
