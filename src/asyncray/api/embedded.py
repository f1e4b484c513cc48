"""The embedded cluster: a daemon started for one driver, which dies with it."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, Final

from asyncray.errors import AsyncrayError
from asyncray.session import SessionInfo, remove_session

_START_TIMEOUT: Final = 30.0
"""Seconds within which the daemon must say that it serves, or why not."""
_STOP_TIMEOUT: Final = 5.0
"""Seconds that it may take to stop before it is killed."""


def settle(future: asyncio.Future[None]) -> None:
    """Marks a future done, once."""
    if not future.done():
        future.set_result(None)


def _let_go(cluster: EmbeddedCluster | None) -> None:
    if cluster is not None:
        cluster._close()


class EmbeddedCluster:
    """The daemon process. The write end of its lifeline is open in this process only: when this process ends,
    however it does, the daemon reads the end of the pipe and stops."""

    def __init__(self, settings: dict[str, Any]) -> None:
        ready, ready_writer = os.pipe()
        lifeline_reader, self._lifeline = os.pipe()
        self._ready = ready
        arguments = json.dumps({**settings, "ready_fd": ready_writer, "lifeline_fd": lifeline_reader})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "asyncray.daemon", arguments],
                pass_fds=(ready_writer, lifeline_reader),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the driver, which then stops its cluster
            )
        finally:
            os.close(ready_writer)
            os.close(lifeline_reader)
        self._directory: str | None = None
        # A forked process must not keep the cluster alive when this one is gone. Weak: a cluster may end before.
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _let_go(itself()))

    async def started(self) -> SessionInfo:
        """Waits until it serves. Raises AsyncrayError with its reason when it does not."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._ready, settle, readable)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await readable
        except TimeoutError:
            raise AsyncrayError(f"the embedded cluster did not start within {_START_TIMEOUT:.0f} s") from None
        finally:
            loop.remove_reader(self._ready)
        return self._read_info()

    def started_blocking(self) -> SessionInfo:
        """The same for a caller that cannot await."""
        if not select.select([self._ready], [], [], _START_TIMEOUT)[0]:
            raise AsyncrayError(f"the embedded cluster did not start within {_START_TIMEOUT:.0f} s")
        return self._read_info()

    def _read_info(self) -> SessionInfo:
        answer = os.read(self._ready, 1 << 16)
        message = json.loads(answer) if answer else {"error": "the daemon ended at once; see its output above"}
        if "error" in message:
            raise AsyncrayError(message["error"])
        self._directory = message["directory"]
        return SessionInfo(**json.loads(Path(message["directory"], "session.json").read_text()))

    async def stop(self) -> None:
        """Ends the cluster and waits until its process is gone."""
        self._close()
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except ProcessLookupError:
            self._finish()
            return
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, settle, ended)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await ended
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._finish()

    def stop_soon(self) -> None:
        """Ends the cluster for a caller that cannot await: it notices by itself that nobody needs it."""
        self._close()

    def _close(self) -> None:
        for descriptor in (self._ready, self._lifeline):
            if descriptor >= 0:
                os.close(descriptor)
        self._ready = self._lifeline = -1

    def _finish(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._directory is not None and os.path.exists(self._directory):
            remove_session(self._directory)
