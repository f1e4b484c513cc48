"""How commands print: data for programs, tables for people."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_FILES: Final = 140
"""Columns of a table that goes to a file or a pipe, where nothing is too wide."""


def print_data(data: Any, form: str) -> None:
    """Prints plain data as `json` or `yaml`."""
    if form == "json":
        import json

        click.echo(json.dumps(data, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(data, sort_keys=False, default_flow_style=False).rstrip())


def console() -> Console:
    """Where tables go."""
    import sys

    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(width=width, highlight=False)


def show_bytes(amount: float) -> str:
    """`1.5 GB`: powers of 1000, as the speeds of disks and networks are given."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.4g} TB"
