"""`asyncray demo`: indexes Python source code on a cluster, and checks the index against one made without it."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Runs the demo with these command-line arguments; returns its exit status."""
    from asyncray.demo.command import run

    return run(argv)
