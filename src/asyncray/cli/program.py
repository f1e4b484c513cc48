"""The group of all commands, and what becomes of their errors: one line on stderr, and a status that is not zero."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, NoReturn

import click

import asyncray
from asyncray.cli.demo import demo
from asyncray.cli.memory import memory
from asyncray.cli.microbenchmark import microbenchmark
from asyncray.cli.node import control, node
from asyncray.cli.simulate import simulate
from asyncray.cli.start import start
from asyncray.cli.status import status
from asyncray.cli.stop import stop

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
"""What shells give a process that SIGINT ended."""


class Program(click.Group):
    """A group that reports errors in one line. A command's return value is the exit status."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        options["standalone_mode"] = False
        sys.exit(self._run(*args, **options))

    def _run(self, *args: Any, **options: Any) -> int:
        from asyncray.errors import AsyncrayError

        try:
            result = super().main(*args, **options)
            sys.stdout.flush()
        except click.UsageError as error:
            return _complain(_usage(error), MISUSED)
        except click.ClickException as error:
            return _complain(error.format_message(), FAILED)
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read the output has seen enough; nothing more can be said there, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except AsyncrayError as error:
            return _complain(str(error), FAILED)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            return _complain(f"{place}{error.strerror or error}", FAILED)
        return result if isinstance(result, int) else 0


def _complain(message: str, status: int) -> int:
    click.echo(f"asyncray: {' '.join(message.split())}", err=True)
    return status


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    return f"{message} (see {error.ctx.command_path} --help)" if error.ctx is not None else message


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(asyncray.__version__, prog_name="asyncray", message="%(prog)s %(version)s")
def program() -> None:
    """Distributed tasks, actors and objects for Python, built on asyncio.

    A program that calls asyncray.init() needs none of this: it starts a cluster of its own. These commands run one
    that several programs share, or that spans machines.

    \b
    asyncray start --head                     on the first machine
    asyncray start --address HOST:PORT        on each other
    asyncray status                           who is there, and what is free
    asyncray memory                           who holds which objects
    asyncray stop                             ends what runs on this machine
    """


for _command in (start, stop, status, memory, node, control, microbenchmark, simulate, demo):
    program.add_command(_command)
