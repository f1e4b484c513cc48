"""How large a simulated cluster is, and what it has to do."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

_NODES_PER_DRIVER = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    nodes: int
    actors: int
    tasks: int
    drivers: int
    cpus_per_node: int = 16
    task_seconds: float = 0.1
    """Mean duration of a task."""
    actor_calls: int = 5
    """How often each actor is called by its driver; every time it calls another one in turn."""
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name in ("nodes", "drivers", "cpus_per_node") else 0
            if value < least:
                raise ValueError(f"{field.name} must be {least} or more, got {value}")

    def shrunk(self, divisor: int) -> Plan:
        """The same for a cluster that is smaller by so much, with the same work for each node and each driver."""
        return replace(
            self,
            nodes=max(1, self.nodes // divisor),
            actors=self.actors // divisor,
            tasks=self.tasks // divisor,
            drivers=max(1, self.drivers // divisor),
        )


def usual_drivers(nodes: int) -> int:
    """How many drivers a cluster of that size has, if nobody says otherwise."""
    return max(1, nodes // _NODES_PER_DRIVER)


def shares(total: int, parts: int) -> list[int]:
    """The total in parts that differ by 1 at the most."""
    share, rest = divmod(total, parts)
    return [share + (index < rest) for index in range(parts)]
