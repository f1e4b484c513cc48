"""What is told of a machine whose memory ran short: by its node, to whoever lost a task or an actor to that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

REMEDY: Final = (
    "Let fewer tasks run at a time (num_cpus=, memory=), or set the threshold with ASYNCRAY_MEMORY_THRESHOLD"
    " (0 turns the watch off)."
)


@dataclass(frozen=True, slots=True)
class MemoryShortage:
    """Sizes in bytes."""

    node: str
    """Name of the machine."""
    threshold: float
    """Share of `total` that was passed."""
    used: int
    total: int
    processes: tuple[tuple[int, str, int], ...]
    """The largest ones: pid, task (or what else it is), bytes that nobody shares with it."""

    def __str__(self) -> str:
        largest = ", ".join(f"pid {pid} ({name}) {_size(size)}" for pid, name, size in self.processes)
        return (
            f"{self.node} used {_size(self.used)} of its {_size(self.total)}, more than {100 * self.threshold:.4g} %;"
            f" the largest processes: {largest or 'none can be seen'}"
        )

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        processes = tuple((pid, name, size) for pid, name, size in fields["processes"])
        return cls(**{**fields, "processes": processes})


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
