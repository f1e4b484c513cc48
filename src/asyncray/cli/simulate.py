"""`asyncray simulate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asyncray.simulation.scale.plan import Plan


@click.command()
@click.option("--nodes", type=click.IntRange(min=1), default=100, show_default=True, help="Machines of the cluster.")
@click.option(
    "--actors", type=click.IntRange(min=0), default=None, help="Actors on all nodes together.  [default: 20 a node]"
)
@click.option("--tasks", type=click.IntRange(min=0), default=None, help="Tasks in all.  [default: 500 a node]")
@click.option(
    "--drivers", type=click.IntRange(min=1), default=None, help="Programs that submit them.  [default: 1 per 50 nodes]"
)
@click.option("--cpus-per-node", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--task-seconds",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="Mean duration of a task, in virtual time.",
)
@click.option(
    "--actor-calls", type=click.IntRange(min=0), default=5, show_default=True, help="Calls that an actor gets."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same run.")
@click.option("--growth", is_flag=True, help="Simulate an eighth, a quarter and half of it, too: how do figures grow?")
@click.option(
    "--plot", "plot_file", type=click.Path(dir_okay=False), help="With --growth: draw it there (.png, .svg, .pdf)."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.option("--quiet", is_flag=True, help="Do not say meanwhile how far it is.")
def simulate(
    nodes: int,
    actors: int | None,
    tasks: int | None,
    drivers: int | None,
    cpus_per_node: int,
    task_seconds: float,
    actor_calls: int,
    seed: int,
    growth: bool,
    plot_file: str | None,
    form: str,
    quiet: bool,
) -> None:
    """Simulate a large cluster at work, and show what that costs.

    The real control plane, nodes, workers and drivers run in one process on virtual time: trees of tasks that
    submit tasks, and actors that call each other. The figures tell how long that takes in the cluster, what its
    messages and its control plane have to bear, and what the simulation itself takes.
    """
    if plot_file is not None and not growth:
        raise click.UsageError("--plot draws growth: give --growth, too")
    _check_simulator()
    if plot_file is not None:
        from asyncray.simulation.scale.plot import check_plotting

        check_plotting(plot_file)
    from asyncray.simulation.scale.growth import plans_of_growth
    from asyncray.simulation.scale.plan import Plan, usual_drivers

    plan = Plan(
        nodes=nodes,
        actors=20 * nodes if actors is None else actors,
        tasks=500 * nodes if tasks is None else tasks,
        drivers=usual_drivers(nodes) if drivers is None else drivers,
        cpus_per_node=cpus_per_node,
        task_seconds=task_seconds,
        actor_calls=actor_calls,
        seed=seed,
    )
    try:
        plans = plans_of_growth(plan) if growth else [plan]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _run(plans, plot_file, form, quiet)


def _run(plans: list[Plan], plot_file: str | None, form: str, quiet: bool) -> None:
    from dataclasses import asdict

    from asyncray.simulation.scale.growth import growths, measure_apart

    runs = [measure_apart(plan, None if quiet else _say) for plan in plans]
    grown = growths(runs) if len(runs) > 1 else []
    if form == "table":
        from asyncray.cli.output import console
        from asyncray.simulation.scale.report import table_of

        console().print(table_of(runs, grown))
    else:
        from asyncray.cli.output import print_data

        exponents = {growth.quantity.name: growth.exponent for growth in grown}
        print_data({"runs": [asdict(run) for run in runs], "exponents": exponents}, form)
    if plot_file is not None:
        from asyncray.simulation.scale.plot import plot

        plot(runs, grown, plot_file)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _check_simulator() -> None:
    from asyncray.errors import AsyncrayError

    try:
        import greenlet  # noqa: F401
    except ImportError as error:
        raise AsyncrayError("the simulator needs greenlet: pip install 'asyncray[simulation]'") from error
