"""The current process's runtime: the one piece of module-level mutable state."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime


class Surroundings(Protocol):
    """What the code of a simulated process has instead: several of them share this module."""

    runtime: Runtime | None

    def new_driver(self, namespace: str, settings: dict[str, Any]) -> Runtime:
        """The runtime of a program that calls `init`, not started yet. Raises AsyncrayError where that cannot be."""
        ...


_runtime: Runtime | None = None
_forked = False
simulated: ContextVar[Surroundings | None] = ContextVar("asyncray_surroundings", default=None)


def get_runtime() -> Runtime | None:
    """The runtime that this process's code talks to; None before `init` and after `shutdown`."""
    if _runtime is None and (surroundings := simulated.get()) is not None:
        return surroundings.runtime
    return _runtime


def was_forked() -> bool:
    """Whether this process is the child of a fork of one that had a runtime."""
    return _forked


def set_runtime(runtime: Runtime | None) -> None:
    global _runtime, _forked
    surroundings = simulated.get()
    if surroundings is not None:
        surroundings.runtime = runtime
        return
    _runtime = runtime
    if runtime is not None:
        _forked = False


def _after_fork() -> None:
    """The loop runs in the parent only, and the sockets are the parent's: neither may be used here."""
    global _runtime, _forked
    if _runtime is not None:
        _runtime.forked()
        _runtime, _forked = None, True


os.register_at_fork(after_in_child=_after_fork)
