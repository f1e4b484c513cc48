"""Where the object store's memory comes from when a memfd cannot be had, or is not wanted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncray.errors import AsyncrayError
from asyncray.store.arena import SharedMemory
from asyncray.store.arena_place import SHARED_MEMORY, ArenaPlace

MIB = 1 << 20


class Refused:
    """A system that has no memfd."""

    def __call__(self, name: str, flags: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture
def no_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "memfd_create", Refused())


@pytest.fixture
def warnings() -> list[str]:
    return []


def folder_of(arena: SharedMemory) -> str:
    return os.path.dirname(os.readlink(arena.path))


def write_from_another_process(arena: SharedMemory) -> None:
    program = (
        "from asyncray.store.arena import Arena\n"
        f"Arena.attach({arena.path!r}, {arena.capacity}).writable(0, 5)[:] = b'hello'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_memory_without_a_file_is_the_first_choice(tmp_path: Path, warnings: list[str]) -> None:
    arena = ArenaPlace(str(tmp_path), warnings.append).create(MIB)
    assert "memfd:" in os.readlink(arena.path)
    assert not warnings
    arena.close()


@pytest.mark.usefixtures("no_memfd")
def test_without_memfd_shared_memory_serves_as_well(tmp_path: Path, warnings: list[str]) -> None:
    arena = ArenaPlace(str(tmp_path), warnings.append).create(MIB)
    assert folder_of(arena) == SHARED_MEMORY
    assert os.stat(arena.path).st_blocks == 0  # pages take memory once they are used
    assert not warnings
    write_from_another_process(arena)
    assert bytes(arena.view(0, 5)) == b"hello"
    arena.close()


@pytest.mark.usefixtures("no_memfd")
def test_with_too_little_shared_memory_the_disk_serves_and_the_user_is_told(
    tmp_path: Path, warnings: list[str]
) -> None:
    place = ArenaPlace(str(tmp_path), warnings.append, shared_memory="/nowhere")
    arena = place.create(MIB)
    assert folder_of(arena) == str(tmp_path)
    assert os.stat(arena.path).st_blocks * 512 >= MIB  # a disk that fills up must not kill who writes
    assert os.listdir(tmp_path) == []
    [warning] = warnings
    assert "--shm-size" in warning
    assert f"{tmp_path}" in warning
    assert str(MIB) in warning
    write_from_another_process(arena)
    assert bytes(arena.view(0, 5)) == b"hello"
    arena.populate(0, MIB)
    arena.close()


def test_the_folder_that_the_user_names_is_taken(tmp_path: Path, warnings: list[str]) -> None:
    place = ArenaPlace("/nowhere", warnings.append, str(tmp_path))
    arena = place.create(MIB)
    assert folder_of(arena) == str(tmp_path)
    assert os.listdir(tmp_path) == []
    assert not warnings
    other = place.attach(arena.path, MIB)
    other.writable(7, 2)[:] = b"ab"
    assert bytes(arena.view(7, 2)) == b"ab"
    other.close()
    arena.close()


@pytest.mark.parametrize("directory", ["/nowhere", SHARED_MEMORY])
def test_a_folder_without_room_is_refused_with_the_sizes(directory: str, warnings: list[str]) -> None:
    size = 1 << 50
    with pytest.raises(AsyncrayError, match=rf"{size} bytes does not fit {directory}, where \d+ bytes are free"):
        ArenaPlace("/tmp", warnings.append, directory).create(size)


def test_nothing_stays_open_when_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AsyncrayError, match="No space left on device"):
        ArenaPlace(str(tmp_path), print, str(tmp_path)).create(MIB)
    assert len(os.listdir("/proc/self/fd")) == before
