"""What simulated code must not do: block the one real thread, or talk to the real world behind the simulator's back."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

from asyncray.errors import AsyncrayError
from asyncray.simulation.process import current_process

_ELSEWHERE: Final = "tasks and actors of the cluster, or a test without the simulator"
_SLEEP: Final = "await asyncio.sleep(), or asyncray.testing.sleep() in a plain function, which take virtual time"
_THREAD: Final = "asyncio.to_thread(), or tasks and actors of the cluster"

_FUNCTIONS: Final = (
    (time, "sleep", "time.sleep()", _SLEEP),
    (threading.Thread, "start", "a real thread", _THREAD),
    (subprocess.Popen, "__init__", "a real process", _ELSEWHERE),
    (os, "fork", "os.fork()", _ELSEWHERE),
    (os, "kill", "a real signal", "the faults of the simulator, such as cluster.kill_worker()"),
)
_AUDITED: Final = {
    "socket.__new__": ("a real socket", _ELSEWHERE),
    "socket.getaddrinfo": ("a real look-up of a name", _ELSEWHERE),
}
"""Events of PEP 578, for what is a type and cannot be replaced."""
_LIBRARY: Final = (sysconfig.get_path("stdlib"), "<frozen")


class ForbiddenInSimulation(AsyncrayError):
    """Simulated code has tried what would make the run depend on more than its seed."""


@contextmanager
def forbidden() -> Iterator[None]:
    """Meanwhile code of simulated processes that tries it gets ForbiddenInSimulation, which names the place."""
    _install_audit()
    with ExitStack() as stack:
        for owner, name, thing, remedy in _FUNCTIONS:
            stack.enter_context(patch.object(owner, name, _refusing(getattr(owner, name), thing, remedy)))
        yield


def _refusing(original: Callable[..., Any], thing: str, remedy: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if current_process.get() is not None:
            raise _error(thing, remedy)
        return original(*args, **kwargs)

    return refuse


@functools.cache
def _install_audit() -> None:
    """Once: an audit hook cannot be removed."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _AUDITED and current_process.get() is not None:
        raise _error(*_AUDITED[event])


def _error(thing: str, remedy: str) -> ForbiddenInSimulation:
    frame = _culprit(sys._getframe(2))
    place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}()"
    return ForbiddenInSimulation(f"{thing} in a simulation, at {place}: use {remedy}")


def _culprit(frame: FrameType) -> FrameType:
    """The innermost frame that is not of the standard library."""
    candidate: FrameType | None = frame
    while candidate is not None and _of_library(candidate.f_code.co_filename):
        candidate = candidate.f_back
    return candidate or frame


def _of_library(file: str) -> bool:
    return file.startswith(_LIBRARY) and "site-packages" not in file
