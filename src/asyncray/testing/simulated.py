"""`@simulated`: an async test that runs on a simulated cluster, once for each of many seeds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, overload

from asyncray.pytest_plugin import SEEDS_ATTRIBUTE
from asyncray.simulation.cluster import SimCluster

_Test = Callable[..., Coroutine[Any, Any, None]]


@overload
def simulated(test: _Test, /) -> Callable[..., None]: ...


@overload
def simulated(*, seeds: int | None = None, **settings: Any) -> Callable[[_Test], Callable[..., None]]: ...


def simulated(test: _Test | None = None, /, *, seeds: int | None = None, **settings: Any) -> Any:
    """Makes a test of `async def test(cluster, ...)`: `cluster` is a new SimCluster, the rest are pytest's fixtures.

    It runs for `seeds` seeds, or as many as `pytest --sim-seeds` says; `--sim-seed N` repeats a single one. `settings`
    are those of SimCluster. What fails tells its seed and how the story ended.
    """

    def decorate(test: _Test) -> Callable[..., None]:
        @functools.wraps(test)
        def run(sim_seed: int, **fixtures: Any) -> None:
            SimCluster(sim_seed, **settings).run(lambda cluster: test(cluster, **fixtures))

        _, *fixtures = inspect.signature(test).parameters.values()
        seed = inspect.Parameter("sim_seed", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([seed, *fixtures])  # type: ignore[attr-defined]
        setattr(run, SEEDS_ATTRIBUTE, seeds)  # for the plugin
        return run

    return decorate if test is None else decorate(test)
