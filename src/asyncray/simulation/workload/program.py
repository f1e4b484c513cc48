"""What a random program is: plain data, a tree of steps.

A body (of a driver, a task or an actor's method) has numbered variables, each bound once; its arguments are the first
ones. Variables hold references, actor handles, or values: numbers, bytes, lists. Every step has a key of its own, and
is reached once at most when nothing is run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

LARGE_SIZE: Final = 150_000
"""Bytes of a large value: it goes into a node's store."""

Form = Literal["plain", "async"]
"""Whether the code is a `def`, which blocks, or an `async def`, which awaits."""
Way = Literal["await", "twice", "get", "gather"]
"""How values are asked for: awaiting a reference, once or twice, or several by `get` or `asyncio.gather`."""
Withdrawal = Literal["reference", "awaiting task", "shielded task"]
"""What is cancelled: the reference, or a task that awaits it, with or without `asyncio.shield`."""
Method = Literal["add", "keep", "give", "started", "fail", "run"]
INITIAL: Final = 0
"""The slot of what an actor's constructor has been given to keep."""


TOKENS: Final = "token", 2.0
"""A custom resource, and how much of it a node must have: for tasks that wait for nothing while they hold it."""
SEATS: Final = "seat", 4.0
"""Another one, for actors while they live: those of a program together take no more than one node has."""
CPUS: Final = 2
"""Cores that a node must have: what a program asks for at a time fits on any node, however many others die."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a task takes while it runs, or an actor while it lives."""

    num_cpus: float | None = None
    """None: asyncray's default."""
    tokens: float = 0.0
    seats: float = 0.0


# ---- expressions


@dataclass(frozen=True, slots=True)
class Constant:
    number: int


@dataclass(frozen=True, slots=True)
class Large:
    """`LARGE_SIZE` bytes, all of this number (below 256)."""

    number: int


@dataclass(frozen=True, slots=True)
class Item:
    """A variable, or what is at a path of indices in the lists that it holds."""

    variable: int
    path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A list; the references in it are passed as references."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Journal:
    """What the body has observed so far, as plain data."""


Expression = Constant | Large | Item | Listed | Journal


# ---- steps


@dataclass(frozen=True, slots=True)
class Body:
    """Code: its steps, then the values that it returns. `num_returns` is their number."""

    key: int
    steps: tuple[Step, ...]
    returns: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Submit:
    """Starts a task, whose references are bound to `targets`."""

    key: int
    targets: tuple[int, ...]
    form: Form
    body: Body
    arguments: tuple[Expression, ...]
    cancelled: bool = False
    """A later step may cancel a reference of it."""
    demand: Demand = Demand()
    max_retries: int = 3


@dataclass(frozen=True, slots=True)
class Put:
    key: int
    target: int
    value: Expression


@dataclass(frozen=True, slots=True)
class Get:
    """Binds the values of references, and observes them."""

    key: int
    targets: tuple[int, ...]
    sources: tuple[Item, ...]
    way: Way
    deep: bool
    """References inside the values are observed, too."""
    catch: bool
    """An error is observed; otherwise it ends the body."""
    timeout: float | None = None
    """Seconds, for `get`."""


@dataclass(frozen=True, slots=True)
class Wait:
    key: int
    sources: tuple[Item, ...]
    num_returns: int
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Drop:
    """Lets go of variables."""

    key: int
    variables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Create:
    """Starts an actor that counts, and keeps what it is given."""

    key: int
    target: int
    form: Form
    start: Expression
    kept: Expression
    fails: bool = False
    """The constructor raises an error."""
    killed: bool = False
    """A later step may kill it."""
    demand: Demand = Demand()


@dataclass(frozen=True, slots=True)
class Call:
    """Calls a method. `slot` is where `keep` and `give` find what the actor keeps; `body` is what `run` runs."""

    key: int
    targets: tuple[int, ...]
    actor: Item
    method: Method
    arguments: tuple[Expression, ...] = ()
    slot: int = INITIAL
    remove: bool = False
    """`give` lets go of what it gives."""
    body: Body | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    key: int
    actor: Item


@dataclass(frozen=True, slots=True)
class Cancel:
    key: int
    variable: int
    what: Withdrawal


@dataclass(frozen=True, slots=True)
class Sleep:
    key: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Raise:
    """Ends the body with an error of the user's own."""

    key: int


@dataclass(frozen=True, slots=True)
class Concurrently:
    """Lists of steps that run at the same time; in plain code one after the other."""

    key: int
    branches: tuple[tuple[Step, ...], ...]


Step = Submit | Put | Get | Wait | Drop | Create | Call | Kill | Cancel | Sleep | Raise | Concurrently


@dataclass(frozen=True, slots=True, repr=False)
class Program:
    """What each driver does; drivers share nothing but the cluster."""

    drivers: tuple[Body, ...]

    @staticmethod
    def random(
        random: Random,
        operations: int,
        *,
        drivers: int = 1,
        actors: bool = True,
        cancellations: bool = True,
        large_values: bool = False,
        pause: float = 0.0,
    ) -> Program:
        """A program of that many steps in all. `pause`: seconds that the tasks of a burst take, one as the other."""
        from asyncray.simulation.workload.generate import random_program  # which needs this module

        return random_program(
            random,
            operations,
            drivers=drivers,
            actors=actors,
            cancellations=cancellations,
            large_values=large_values,
            pause=pause,
        )

    def __repr__(self) -> str:
        """A listing for people."""
        from asyncray.simulation.workload.listing import lines_of  # which needs this module

        return "\n".join(lines_of(self))
