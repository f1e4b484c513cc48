"""A daemon of a test's cluster with all processes below it: they are started, stopped and killed together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from typing import Any, Final

import psutil

from asyncray.api.child_daemon import ChildDaemon, end_of_process
from asyncray.errors import AsyncrayError
from asyncray.session import SessionInfo, remove_session

_GRACE: Final = 5.0
"""Seconds that the processes below a daemon may outlive it before they are killed."""


class DaemonFamily:
    """What it prints is kept, for errors to tell."""

    def __init__(self, settings: dict[str, Any], name: str) -> None:
        self.name = name
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when all have ended
        self._printed = ""
        self._roots: list[psutil.Process] = []
        """Daemon and zygote, which may outlive it for a moment."""
        try:
            self._daemon = ChildDaemon(settings, name, self._output)
        except BaseException:
            self._output.close()
            raise

    @property
    def pid(self) -> int:
        return self._daemon.pid

    async def started(self) -> SessionInfo:
        """Waits until it serves. Raises AsyncrayError, with its reason or its last output, when it does not."""
        try:
            info = await self._daemon.started()
            daemon = psutil.Process(self.pid)
            self._roots = [daemon, *daemon.children()]
            return info
        except AsyncrayError as error:
            await self.stop()
            reason = str(error)
            told = reason if reason.startswith(self.name) else f"{self.name} did not start: {reason}"
            raise AsyncrayError(told) from None
        except BaseException:
            await self.stop()
            raise

    def has_ended(self) -> bool:
        return self._daemon.has_ended()

    def output(self) -> str:
        """What it has printed so far, to stdout and stderr."""
        if self._output.closed:
            return self._printed
        length = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), length, 0).decode(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """What its zygote has forked."""
        if self.has_ended():
            return []
        with contextlib.suppress(psutil.NoSuchProcess):  # a zygote that ends at this moment
            return [worker for zygote in psutil.Process(self.pid).children() for worker in zygote.children()]
        return []

    async def stop(self) -> None:
        """Lets all end in order; kills what has not ended after a while, or when the caller is cancelled."""
        below = self._below()
        try:
            await self._daemon.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await _all_ended(below)
        finally:
            _kill(below)
            self._close()

    async def kill(self, directory: str) -> None:
        """SIGKILL to all, and to what user code has started there; its session directory goes, as its machine would."""
        below = self._below()
        try:
            self._daemon.kill()  # first, or it would start another zygote
            _kill(below)
            await self._daemon.stop()
            await _all_ended(below)
        finally:
            remove_session(directory)
            self._close()

    def _below(self) -> list[psutil.Process]:
        found: dict[psutil.Process, None] = {}
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= dict.fromkeys([root, *root.children(recursive=True)])
        return [process for process in found if process.pid != self.pid]

    def _close(self) -> None:
        self._printed = self.output()
        self._output.close()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def _all_ended(processes: list[psutil.Process]) -> None:
    await asyncio.gather(*(end_of_process(process.pid) for process in processes if process.is_running()))
