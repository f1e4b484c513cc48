"""The options of `@remote` and `.options()`, checked when they are given."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from asyncray.resources import Resources, to_units


@dataclass(frozen=True, slots=True)
class _Options:
    _KIND: ClassVar[str]
    """What an error calls the thing that has the options."""
    num_cpus: float | None = None
    """CPU cores; a task takes 1 by default, an actor 1 to be placed and 0 to live."""
    num_gpus: float = 0
    memory: float = 0
    """Bytes."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources by name."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Raises TypeError for an unknown option, ValueError for a value that makes no sense."""
        return cls().updated(given)

    def updated(self, given: Mapping[str, Any]) -> Self:
        known = [entry.name for entry in fields(self)]
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
                raise TypeError(f"unknown option {name!r} for a remote {self._KIND}: {hint}")
        changed = replace(self, **given)
        changed._check()
        return changed

    def _check(self) -> None:
        for reserved in ("CPU", "GPU", "memory", "object_store_memory"):
            if reserved in self.resources:
                raise ValueError(f"resource {reserved!r} has an option of its own: do not repeat it in resources=")
        self._units(1.0)

    def _units(self, default_cpus: float) -> Resources:
        cpus = default_cpus if self.num_cpus is None else self.num_cpus
        return to_units({"CPU": cpus, "GPU": self.num_gpus, "memory": self.memory, **self.resources})


@dataclass(frozen=True, slots=True)
class TaskOptions(_Options):
    """Options of a remote function."""

    _KIND = "function"

    name: str | None = None
    """Shown instead of the function's own name."""
    num_returns: int = 1
    max_retries: int = 3
    """How often a task runs again when its worker dies; -1 for always."""

    def demand(self) -> Resources:
        """What one call takes, in units of 0.0001."""
        return self._units(1.0)

    def _check(self) -> None:
        _Options._check(self)
        _check_returns(self.num_returns)
        if not isinstance(self.max_retries, int) or self.max_retries < -1:
            raise ValueError(f"max_retries must be -1 (always), 0 or more, got {self.max_retries!r}")


@dataclass(frozen=True, slots=True)
class ActorOptions(_Options):
    """Options of a remote class."""

    _KIND = "class"

    max_concurrency: int | None = None
    """Calls that run at the same time: 1, or 1000 for a class with `async def` methods."""

    def demand(self) -> Resources:
        """What the actor takes while it lives, in units of 0.0001."""
        return self._units(0.0)

    def placement(self) -> Resources:
        """What its node must have in total."""
        return self._units(1.0)

    def _check(self) -> None:
        _Options._check(self)
        concurrency = self.max_concurrency
        if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
            raise ValueError(f"max_concurrency must be 1 or more, got {concurrency!r}")


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """Options of one call of an actor's method."""

    num_returns: int = 1

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MethodOptions:
        for name in given:
            if name != "num_returns":
                raise TypeError(f"unknown option {name!r} for an actor's method: there is: num_returns")
        options = cls(**given)
        _check_returns(options.num_returns)
        return options


def _check_returns(num_returns: Any) -> None:
    if isinstance(num_returns, bool) or not isinstance(num_returns, int) or num_returns < 0:
        raise ValueError(f"num_returns must be 0 or more, got {num_returns!r}")
