"""How the figures of runs grow with the number of nodes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from math import log
from multiprocessing import get_context
from typing import Final

from asyncray.errors import AsyncrayError
from asyncray.simulation.scale.measure import Figures, measure
from asyncray.simulation.scale.plan import Plan

_DIVISORS: Final = (8, 4, 2, 1)
_LINEAR: Final = 1.1
"""The exponent from which on growth counts as faster than linear: a little above 1, as runs are never quite alike."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One that is reported of each run."""

    name: str
    of: Callable[[Figures], float]
    expected: float = 1.0
    """The exponent of a cluster whose nodes do not slow each other down: 0 for what each task costs."""


QUANTITIES: Final = (
    Quantity("virtual makespan, s", lambda figures: figures.makespan, 0.0),
    Quantity("messages per task or call", lambda figures: figures.messages_per_task, 0.0),
    Quantity("bytes per task or call", lambda figures: figures.bytes_per_task, 0.0),
    Quantity("control plane: messages in/s", lambda figures: figures.control_messages_in),
    Quantity("control plane: messages out/s", lambda figures: figures.control_messages_out),
    Quantity("control plane: bytes in/s", lambda figures: figures.control_bytes_in),
    Quantity("control plane: bytes out/s", lambda figures: figures.control_bytes_out),
    Quantity("control plane: share of all bytes", lambda figures: figures.control_share, 0.0),
    Quantity("callbacks", lambda figures: figures.callbacks),
    Quantity("real seconds", lambda figures: figures.real_seconds),
    Quantity("peak memory, bytes", lambda figures: figures.peak_memory),
)


@dataclass(frozen=True, slots=True)
class Growth:
    """How one quantity grows: as the number of nodes to the power of `exponent`."""

    quantity: Quantity
    exponent: float

    @property
    def too_fast(self) -> bool:
        """Whether larger clusters do worse than as many small ones."""
        return self.exponent > self.quantity.expected + _LINEAR - 1


def plans_of_growth(plan: Plan) -> list[Plan]:
    """The plan for an eighth, a quarter, half and all of its nodes. Raises ValueError with too few for that."""
    if plan.nodes < _DIVISORS[0]:
        raise ValueError(f"growth is measured at nodes/8, nodes/4, nodes/2 and nodes: {plan.nodes} nodes are too few")
    return [plan.shrunk(divisor) for divisor in _DIVISORS]


def measure_apart(plan: Plan, progress: Callable[[str], None] | None = None) -> Figures:
    """Runs a plan in a process of its own, whose memory is no other's. `progress` must be a module's function.

    Raises AsyncrayError, also when that process is killed, as for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_at_last, plan, *([progress] if progress else [])).result()
        except BrokenProcessPool as error:
            raise AsyncrayError(f"the simulation of {plan.nodes} nodes was killed: is there enough memory?") from error


def _measure_at_last(plan: Plan, progress: Callable[[str], None] = lambda line: None) -> Figures:
    """Nothing comes after it in this process."""
    gc.disable()  # else the collector looks at all that is left, several times, before the process may end
    figures = measure(plan, progress)
    gc.freeze()  # the interpreter does so, too
    return figures


def growths(runs: Sequence[Figures]) -> list[Growth]:
    """Of every quantity, from runs with different numbers of nodes."""
    sizes = [run.nodes for run in runs]
    return [Growth(quantity, exponent(sizes, [quantity.of(run) for run in runs])) for quantity in QUANTITIES]


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the line through the logarithms that has the least squares. What is not positive counts as least."""
    least = min((value for value in values if value > 0), default=1.0)
    xs, ys = [log(size) for size in sizes], [log(max(value, least)) for value in values]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread
