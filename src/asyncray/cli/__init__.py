"""The `asyncray` command. Each command's module imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations


def main() -> None:
    """Runs the command that `sys.argv` names, and exits with its status."""
    from asyncray.cli.program import program

    program(prog_name="asyncray")
