"""What the model knows of a value before anybody sees it: exact data, and marks where more than one thing is right."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

Expected = Any
"""int, str, a list of Expected, or one of the marks below."""


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()
"""There is no value: it fails."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that may come without any fault of the cluster."""

    kinds: tuple[str, ...]
    """Full names of its types."""
    text: str | None = None
    """Of the user's own errors."""


CANCELLED: Final = Failure(("asyncio.exceptions.CancelledError", "asyncray.errors.TaskCancelledError"))
ACTOR_DIED: Final = Failure(("asyncray.errors.ActorDiedError",))
TIMED_OUT: Final = Failure(("asyncray.errors.GetTimeoutError",))


def own_failure(key: int) -> Failure:
    """The user's error that the step raises."""
    return Failure(("asyncray.simulation.workload.observation.WorkloadError",), str(key))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reference comes to: the value, or one of the failures."""

    value: Expected
    failures: tuple[Failure, ...] = ()
    endures: bool = False
    """It comes however many workers die: none of them can be what it fails of."""

    @property
    def certain(self) -> bool:
        return self.value is not NOTHING and not self.failures

    def failing(self, *failures: Failure) -> Outcome:
        """The same, but that it may fail so, too."""
        return replace(self, failures=merged(self.failures, failures))


def merged(*parts: tuple[Failure, ...]) -> tuple[Failure, ...]:
    return tuple(dict.fromkeys(failure for part in parts for failure in part))


@dataclass(frozen=True, slots=True)
class Runs:
    """How often something runs that is run once when nothing dies."""

    certain: bool
    """It runs, if nothing dies: the driver itself has started it. Others end with the process that has started them,
    if nobody needs them any more."""
    most: int | None
    """How often at most when workers die; None for no limit."""


@dataclass(frozen=True, slots=True)
class RefTo:
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Maybe:
    """The value, or MISSING."""

    value: Expected


@dataclass(frozen=True, slots=True)
class LargeOf:
    number: int


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry of a journal: the outcome, or with `may_miss` MISSING, since there was no reference."""

    outcome: Outcome
    may_miss: bool = False


@dataclass(frozen=True, slots=True)
class HeldInTheEnd:
    """What a driver records of a variable."""

    value: Expected


@dataclass(frozen=True, slots=True)
class Waited:
    total: int
    may_miss: bool
    """Some of the `total` may be no references."""
    num_returns: int
    timed: bool


@dataclass(frozen=True, slots=True)
class JournalOf:
    entries: tuple[tuple[int, Expected], ...]


Branch = tuple[tuple[int, int], ...]
"""Where a step stands: for each `Concurrently` around it, its key and the number of the branch."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CountedCall:
    """A call of `add`."""

    key: int
    body_key: int
    """The body that makes the call: calls of one body are ordered, but for its branches."""
    branch: Branch
    certain: bool
    """It takes effect, if nothing dies."""

    def before(self, later: CountedCall) -> bool:
        """Whether it takes effect first, given that it stands first."""
        if self.body_key != later.body_key:
            return False
        mine = dict(self.branch)
        return all(mine.get(key, number) == number for key, number in later.branch)

    def __repr__(self) -> str:
        return f"<call {self.key}>"


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """The number that a call of `add` gives."""

    actor: ActorModel
    call: CountedCall


@dataclass(slots=True, eq=False, repr=False)
class ActorModel:
    key: int
    start: Expected
    slots: dict[int, Expected]
    failures: tuple[Failure, ...]
    """How any call may fail."""
    lives: bool = True
    """Its constructor may return."""
    certain: bool = True
    killed_by: int | None = None
    """The body that has killed it: none of its later calls reaches the actor."""
    calls: list[CountedCall] = field(default_factory=list)
    """Those of `add`, as they stand in the program."""

    def __repr__(self) -> str:
        return f"<actor {self.key}>"


@dataclass(frozen=True, slots=True, eq=False)
class HandleOf:
    actor: ActorModel
