"""The object store where the user wants it, or as large as no machine is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import asyncray
from asyncray.errors import AsyncrayError

SIZE = 1 << 20


@asyncray.remote
def reverse(data: bytes) -> bytes:
    return data[::-1]


def arena_files() -> set[str]:
    """What this process has mapped as arenas: its node's, and those of earlier tests of which it keeps views."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if "asyncray-arena" in line or "/#" in line}


async def test_the_object_store_can_lie_in_a_folder_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCRAY_ARENA_DIR", str(tmp_path))
    data = os.urandom(SIZE)
    async with asyncray.init(num_cpus=1, object_store_memory=16 * SIZE):
        ref = asyncray.put(data)
        assert await reverse.remote(await ref) == data[::-1]
        assert any(file.startswith(str(tmp_path)) for file in arena_files())
        assert os.listdir(tmp_path) == []


async def test_an_object_store_larger_than_the_machine_is_refused_with_the_sizes() -> None:
    with pytest.raises(AsyncrayError, match=rf"object_store_memory is {1 << 50} bytes, and this machine .* has \d+"):
        await asyncray.init(num_cpus=1, object_store_memory=1 << 50)
