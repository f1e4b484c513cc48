"""Growth as a picture: each quantity over the number of nodes, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from asyncray.errors import AsyncrayError
from asyncray.simulation.scale.growth import Growth
from asyncray.simulation.scale.measure import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS: Final = 4


def check_plotting(path: str) -> None:
    """Raises AsyncrayError if no plot can be drawn into that file: to know it before the simulation is better."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise AsyncrayError("--plot needs matplotlib: pip install 'asyncray[simulation]'") from error
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.rpartition(".")[2] not in known:
        raise AsyncrayError(
            f"{path} is no file that plots are drawn into: give it the ending {', '.join(sorted(known))}"
        )


def plot(runs: Sequence[Figures], growths: Sequence[Growth], path: str) -> None:
    """Draws the picture. The ending of the path says in which format. Raises OSError."""
    from matplotlib.figure import Figure

    rows = -(-len(growths) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3 * rows), layout="constrained")
    last = runs[-1]
    figure.suptitle(
        f"{last.actors:,} actors and {last.tasks:,} tasks on {last.nodes:,} nodes, and in proportion on fewer"
    )
    axes: list[Axes] = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis, growth in zip(axes, growths, strict=False):
        _draw(axis, runs, growth)
    for axis in axes[len(growths) :]:
        axis.set_axis_off()
    figure.savefig(path)


def _draw(axis: Axes, runs: Sequence[Figures], growth: Growth) -> None:
    sizes = [run.nodes for run in runs]
    values = [growth.quantity.of(run) for run in runs]
    colour = "tab:red" if growth.too_fast else "tab:blue"
    expected = [values[0] * (size / sizes[0]) ** growth.quantity.expected for size in sizes]
    axis.loglog(sizes, expected, color="0.7", linestyle="--")
    axis.loglog(sizes, values, color=colour, marker="o")
    axis.set_title(f"{growth.quantity.name}: nodes^{growth.exponent:.2f}", color=colour, fontsize="medium")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
