"""Plants a bug in the real code, and has random programs look for it."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from asyncray.errors import AsyncrayError
from asyncray.simulation import trial
from asyncray.simulation.cluster import STORE

SEEDS: Final = 200
"""A bug that none of so many seeds finds has escaped."""
PATIENT: Final = 600.0
"""Seconds for a test: that many seeds take long, when a bug escapes."""


def assert_caught(
    method: Callable[..., Any],
    right: str,
    wrong: str,
    *,
    profile: str = "calm",
    nodes: int = 5,
    operations: int = 100,
    store: int = STORE,
    pause: float = 0.0,
) -> None:
    """Some seed fails when `wrong` stands in the place of `right`; the same seed passes as the code is."""
    owner, mistaken = _with_mistake(method, right, wrong)
    with _impatiently():
        for seed in range(SEEDS):
            run = functools.partial(
                trial.run_trial,
                seed,
                profile,
                nodes=nodes,
                operations=operations,
                store=store,
                pause=pause,
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(owner, method.__name__, mistaken)
                try:
                    run()
                except AsyncrayError as error:
                    first_line = str(error).partition("\n")[0]
                    print(f"seed {seed}: {type(error).__name__}: {first_line[:200]}")
                    break
        else:
            pytest.fail(f"{SEEDS} seeds of {profile!r} pass with {wrong!r} for {right!r} in {method.__qualname__}()")
        run()


@contextmanager
def _impatiently() -> Iterator[None]:
    """What hangs after a minute hangs after five; and garbage is collected often, in which no module has a part."""
    gc.collect()
    gc.freeze()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trial, "_PATIENCE", 60.0)
            patch.setattr(trial, "_SETTLING", 40.0)
            yield
    finally:
        gc.unfreeze()


def _with_mistake(method: Callable[..., Any], right: str, wrong: str) -> tuple[type, Callable[..., Any]]:
    """The class of a method, and the method with a piece of its text replaced."""
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(right) == 1, f"{right!r} is {source.count(right)} times in {method.__qualname__}()"
    module = sys.modules[method.__module__]
    mistaken = "from __future__ import annotations\n" + source.replace(right, wrong)
    defined: dict[str, Any] = {}
    exec(compile(mistaken, f"<{method.__qualname__}, with a mistake>", "exec"), vars(module), defined)
    return getattr(module, method.__qualname__.partition(".")[0]), defined[method.__name__]
