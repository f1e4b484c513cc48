"""A daemon that belongs to this process: started as its child, it ends when this process does, however that comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
import weakref
from pathlib import Path
from typing import IO, Any, Final

from asyncray.errors import AsyncrayError
from asyncray.session import SessionInfo, remove_session

_START_TIMEOUT: Final = 30.0
"""Seconds within which the daemon must say that it serves, or why not."""
_STOP_TIMEOUT: Final = 5.0
"""Seconds that it may take to stop before it is killed."""
_LAST_BYTES: Final = 4000
"""Of its output, what a failure to start tells."""


class ChildDaemon:
    """The daemon process. The write end of its lifeline is open in this process only: when this process ends,
    however it does, the daemon reads the end of the pipe and stops."""

    def __init__(self, settings: dict[str, Any], name: str, output: IO[bytes] | None = None) -> None:
        """`settings` as in DaemonSettings; `name` is for errors; `output` takes what it prints, instead of ours."""
        self._name = name
        self._output = output
        ready, ready_writer = os.pipe()
        lifeline_reader, self._lifeline = os.pipe()
        self._ready = ready
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "asyncray.daemon", "-"],
                pass_fds=(ready_writer, lifeline_reader),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the driver, which then stops its daemons
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(ready_writer)
            os.close(lifeline_reader)
        self._directory: str | None = None
        # A forked process must not keep the daemon alive when this one is gone. Weak: the daemon may end before.
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _let_go(itself()))
        self._send({**settings, "ready_fd": ready_writer, "lifeline_fd": lifeline_reader})

    def _send(self, settings: dict[str, Any]) -> None:
        """By a pipe, and not as an argument, which other users can read: there may be a token among them."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended at once: whoever waits for it will learn that
            self._process.stdin.write(json.dumps(settings).encode())
            self._process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def started(self) -> SessionInfo:
        """Waits until it serves. Raises AsyncrayError with its reason when it does not."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._ready, _settle, readable)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await readable
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            loop.remove_reader(self._ready)
        return self._read_info()

    def started_blocking(self) -> SessionInfo:
        """The same for a caller that cannot await."""
        poll = select.poll()  # `select` cannot take descriptors from 1024 on
        poll.register(self._ready, select.POLLIN)
        if not poll.poll(_START_TIMEOUT * 1000):
            raise self._too_slow()
        return self._read_info()

    def _too_slow(self) -> AsyncrayError:
        return AsyncrayError(f"{self._name} did not start within {_START_TIMEOUT:.0f} s{self._last_output()}")

    def _read_info(self) -> SessionInfo:
        answer = os.read(self._ready, 1 << 16)
        if not answer:
            see = "; see its output above" if self._output is None else self._last_output()
            raise AsyncrayError(f"{self._name} ended at once{see}")
        message = json.loads(answer)
        if "error" in message:
            raise AsyncrayError(message["error"])
        self._directory = message["directory"]
        return SessionInfo(**json.loads(Path(message["directory"], "session.json").read_text()))

    def _last_output(self) -> str:
        if self._output is None:
            return ""
        length = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), _LAST_BYTES, max(0, length - _LAST_BYTES)).decode(errors="replace")
        return f". It said:\n{text.rstrip()}" if text.strip() else " and said nothing"

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    async def stop(self) -> None:
        """Ends the daemon and waits until its process is gone."""
        self._close()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                if not self.has_ended():
                    await end_of_process(self._process.pid)
        except TimeoutError:
            pass
        finally:
            self._finish()

    def kill(self) -> None:
        """SIGKILL: it has no time to stop what is below it. To be stopped afterwards all the same."""
        self._process.kill()

    def stop_soon(self) -> None:
        """Ends the daemon for a caller that cannot await: it notices by itself that nobody needs it."""
        self._close()

    def _close(self) -> None:
        for descriptor in (self._ready, self._lifeline):
            if descriptor >= 0:
                os.close(descriptor)
        self._ready = self._lifeline = -1

    def _finish(self) -> None:
        self._process.kill()  # if it has not ended yet
        self._process.wait()
        if self._directory is not None and os.path.exists(self._directory):
            remove_session(self._directory)


async def end_of_process(pid: int) -> None:
    """Returns when the process has ended, even if nobody has asked for its exit status yet."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    """Marks a future done, once."""
    if not future.done():
        future.set_result(None)


def _let_go(daemon: ChildDaemon | None) -> None:
    if daemon is not None:
        daemon._close()
