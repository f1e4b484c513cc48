"""`asyncray demo`."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="")
def demo(arguments: tuple[str, ...]) -> int:
    """A tour of asyncray on this machine."""
    from asyncray.demo import main

    return main(list(arguments))
