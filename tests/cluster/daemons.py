"""Daemons in the foreground, as service managers start them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from asyncray.session import SessionInfo

from .polling import PATIENCE


class Daemon:
    """A process of `python -m asyncray.daemon`, which serves."""

    def __init__(self, process: asyncio.subprocess.Process, info: SessionInfo) -> None:
        self.process = process
        self.info = info

    @property
    def address(self) -> str:
        return self.info.address

    @property
    def token(self) -> str:
        return self.info.token()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal; returns the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def daemon(**settings: Any) -> AsyncIterator[Daemon]:
    """A daemon that is ended in the end. Of two CPUs, unless the settings say otherwise."""
    started = await start(**settings)
    assert isinstance(started, Daemon), started
    try:
        yield started
    finally:
        await started.end()


def read_session(directory: str) -> SessionInfo:
    return SessionInfo(**json.loads(Path(directory, "session.json").read_text()))


async def start(**settings: Any) -> Daemon | str:
    """The daemon, or the message with which it refuses to start."""
    reader, writer = os.pipe()
    settings = {"num_cpus": 2, **settings, "ready_fd": writer}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncray.daemon", json.dumps(settings)), pass_fds=(writer,), start_new_session=True
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = json.loads(await asyncio.to_thread(pipe.read))
    if "error" in message:
        await process.wait()
        return str(message["error"])
    return Daemon(process, read_session(message["directory"]))


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or would be if whoever adopted it had asked for its exit status."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def descendants(pid: int) -> list[psutil.Process]:
    """Of a daemon: its zygote and its workers."""
    return psutil.Process(pid).children(recursive=True)
