"""`python -m asyncray` is the `asyncray` command."""

from asyncray.cli import main

main()
