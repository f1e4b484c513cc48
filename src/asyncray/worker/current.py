"""The current process's runtime: the one piece of module-level mutable state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_runtime: Runtime | None = None
_forked = False


def get_runtime() -> Runtime | None:
    """The runtime that this process's code talks to; None before `init` and after `shutdown`."""
    return _runtime


def was_forked() -> bool:
    """Whether this process is the child of a fork of one that had a runtime."""
    return _forked


def set_runtime(runtime: Runtime | None) -> None:
    global _runtime, _forked
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
