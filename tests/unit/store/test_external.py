"""Stores that fsspec knows, in the place of a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncray.errors import AsyncrayError
from asyncray.store.external import ExternalStore, check_external, is_external

pytest.importorskip("fsspec")


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/spilled" if request.param == "file" else f"memory://{tmp_path.name}/spilled"


async def test_what_is_written_is_read_in_parts(folder: str) -> None:
    store = ExternalStore()
    await store.make_folder(folder)
    await store.write(f"{folder}/1", [b"one", memoryview(b"two"), bytearray(b"three")])
    buffer = bytearray(5)
    assert await store.read_into(f"{folder}/1", 6, buffer) == 5 and buffer == b"three"
    assert await store.read_into(f"{folder}/1", 9, buffer) == 2 and buffer[:2] == b"ee"


async def test_files_are_listed_and_removed_and_then_their_folder(folder: str) -> None:
    store = ExternalStore()
    await store.make_folder(folder)
    for name in "12":
        await store.write(f"{folder}/{name}", [b"bytes"])
    assert await store.names(folder) == ["1", "2"]
    await store.remove(f"{folder}/1")
    assert await store.names(folder) == ["2"]
    await store.remove(f"{folder}/2")
    await store.remove(folder)
    with pytest.raises(FileNotFoundError):
        await store.names(folder)


async def test_every_failure_is_an_oserror(folder: str) -> None:
    with pytest.raises(OSError):
        await ExternalStore().read_into(f"{folder}/missing", 0, bytearray(1))
    with pytest.raises(OSError, match="ValueError"):
        await ExternalStore().write("nowhere://bucket/file", [b"bytes"])


def test_urls_are_external_and_checked() -> None:
    assert is_external("s3://bucket/x") and not is_external("/disk/x")
    with pytest.raises(AsyncrayError, match="cannot be spilled to nowhere://bucket"):
        check_external("nowhere://bucket")
