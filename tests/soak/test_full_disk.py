"""Memory and disk are full: not of `make test`, for it takes the half minute in which nothing has to move."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import asyncray
from asyncray.errors import OutOfDiskError

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

MEMORY = 32_000_000
SIZE = 2_000_000
FULL = MEMORY // SIZE

Array = NDArray[np.int64]


def sum_of(number: int) -> int:
    return sum(range(number, number + SIZE // 8))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", tmp_path]).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_a_disk_that_is_full_as_well_is_an_error_and_loses_nothing(small_disk: Path) -> None:
    async with asyncray.init(num_cpus=1, object_store_memory=MEMORY, object_spilling_directory=str(small_disk)):
        held: list[Array] = []
        with pytest.raises(OutOfDiskError, match=rf"of the object store's {MEMORY} bytes .* No space left on device"):
            for number in range(3 * FULL):
                held.append(await (await asyncray.put(np.arange(number, number + SIZE // 8))))
        assert len(held) > FULL
        assert [int(array.sum()) for array in held] == [sum_of(number) for number in range(len(held))]
        del held[-4:]
        gc.collect()
        for number in range(3):
            held.append(await (await asyncray.put(np.full(SIZE, number, np.uint8))))
        assert [int(array[-1]) for array in held[-3:]] == [0, 1, 2]
