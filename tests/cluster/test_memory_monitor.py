"""A real task that takes more memory than its node allows: it is ended, and its caller learns why."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

import asyncray
from asyncray.errors import ActorDiedError, AsyncrayError, OutOfMemoryError
from asyncray.host_memory import LocalMemory

STEP = 100 << 20
ALLOWED, MOST = 10 * STEP, 60 * STEP
"""Others use the machine as well, now more and now less: so a task goes on until it is ended."""


@asyncray.remote
def fill(attempts: str) -> None:
    with open(attempts, "a") as file:
        file.write("x")
    blocks = []
    while len(blocks) * STEP < MOST:
        blocks.append(bytearray(b"x" * STEP))
        time.sleep(0.05)


@asyncray.remote
class Hoarder:
    async def fill(self) -> None:
        self.blocks: list[bytearray] = []
        while len(self.blocks) * STEP < MOST:
            self.blocks.append(bytearray(b"x" * STEP))
            await asyncio.sleep(0.05)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> float:
    """A threshold that is passed when somebody takes a little more than `ALLOWED`."""
    usage = max(LocalMemory().usages(), key=lambda usage: usage.share)
    threshold = (usage.used + ALLOWED) / usage.total
    monkeypatch.setenv("ASYNCRAY_MEMORY_THRESHOLD", str(threshold))
    return threshold


async def test_a_task_that_takes_too_much_memory_is_repeated_and_then_fails_with_what_was_seen(
    tmp_path: Path, little_memory: float
) -> None:
    attempts = tmp_path / "attempts"
    async with asyncray.init(num_cpus=1):
        async with asyncio.timeout(40):
            with pytest.raises(OutOfMemoryError, match=r"fill\(\) ended after 1 retry: memory ran short") as failed:
                await fill.options(max_retries=1).remote(str(attempts))
        assert attempts.read_text() == "xx"
        shortage = failed.value.shortage
        assert shortage is not None
        assert shortage.threshold == pytest.approx(little_memory)
        assert little_memory * shortage.total < shortage.used < shortage.total
        assert "fill" in [name for _, name, _ in shortage.processes]


@pytest.mark.usefixtures("little_memory")
async def test_an_actor_that_takes_too_much_memory_dies_of_that() -> None:
    async with asyncray.init(num_cpus=1):
        hoarder = Hoarder.remote()
        async with asyncio.timeout(40):
            with pytest.raises(ActorDiedError, match="memory ran short") as failed:
                await hoarder.fill.remote()
        assert isinstance(failed.value.cause, OutOfMemoryError)
        assert failed.value.cause.shortage is not None


@pytest.mark.parametrize("threshold", ["much", "1.5", "-1"])
async def test_a_threshold_that_is_no_share_is_refused(threshold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCRAY_MEMORY_THRESHOLD", threshold)
    with pytest.raises(AsyncrayError, match="ASYNCRAY_MEMORY_THRESHOLD is a share"):
        await asyncray.init(num_cpus=1)
