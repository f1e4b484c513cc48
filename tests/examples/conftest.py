"""Programs as a user runs them: a new interpreter for each."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds in which a program must have started, or ended."""

RunProgram = Callable[..., "subprocess.CompletedProcess[str]"]
StartService = Callable[..., AbstractAsyncContextManager["Service"]]


@dataclass(slots=True)
class Service:
    """A web service that runs in a process of its own."""

    url: str
    process: asyncio.subprocess.Process
    log: asyncio.Task[str]
    """All that it writes; must be read, or else a full pipe would stop it."""

    async def terminate(self) -> int:
        """Ends it as a process manager does; returns its exit status. It must have had nothing to complain of."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            log = await self.log
            assert not re.search("error|exception|traceback|warning", log, re.IGNORECASE), log
            return await self.process.wait()


@pytest.fixture
def run_program() -> RunProgram:
    """Runs `python ARGUMENT...`, at the root of the checkout."""

    def run(*arguments: str | Path, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT)

    return run


@pytest.fixture
def run_text(run_program: RunProgram, tmp_path: Path) -> Callable[[str], str]:
    """Runs the text of a program, which must end well and complain of nothing; returns what it prints."""

    def run(text: str) -> str:
        script = tmp_path / "program.py"
        script.write_text(text)
        done = run_program(script)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        assert done.stderr == "", text
        return done.stdout

    return run


@pytest.fixture
def start_service() -> StartService:
    """`async with start_service("aiohttp_service.py") as service`, on a free port."""

    @asynccontextmanager
    async def start(script: str, *arguments: str) -> AsyncIterator[Service]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / script),
            *("--port", "0", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        log: asyncio.Task[str] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                url = await find_url(process.stdout)
            log = asyncio.create_task(read_all(process.stdout))
            yield Service(url, process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            if log is not None:
                await log

    return start


async def read_all(log: asyncio.StreamReader) -> str:
    return (await log.read()).decode()


async def find_url(log: asyncio.StreamReader) -> str:
    seen = ""
    while line := (await log.readline()).decode():
        seen += line
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError(f"the service ended before it served:\n{seen}")
