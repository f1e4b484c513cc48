"""How fast a simulated network is, and how long its kernels are patient."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from math import log


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a packet is under way, in seconds: at least `minimum`, and a random tail."""

    minimum: float
    tail: float = 0.0
    """The mean of an exponential tail; the median of a lognormal one."""
    sigma: float = 0.0
    """The shape of a lognormal tail, which has rare very late packets; 0 for an exponential one."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} of a latency cannot be negative, got {getattr(self, field.name)}")

    def sample(self, random: random.Random) -> float:
        if not self.tail:
            return self.minimum
        if self.sigma:
            return self.minimum + self.tail * random.lognormvariate(0.0, self.sigma)
        return self.minimum - log(1.0 - random.random()) * self.tail


@dataclass(frozen=True, slots=True)
class Conditions:
    """The same for all connections. Times are seconds, sizes are bytes."""

    local: Latency = Latency(0.00002, 0.00001)
    """Between processes of one machine."""
    remote: Latency = Latency(0.0001, 0.00005)
    """Between machines."""
    bandwidth: float = 1.25e9
    """Bytes per second, of each connection and direction on its own: connections do not slow each other down."""
    window: int = 64 * 1024 * 1024
    """Bytes of a connection and direction that may be under way or unread; what is sent beyond waits at the sender."""
    keepalive_idle: float = 10.0
    """How long a connection between machines is silent before the kernel asks. This and the next two: as in
    `rpc/sockets.py`."""
    keepalive_interval: float = 5.0
    """Between two questions of the kernel."""
    keepalive_probes: int = 4
    """Unanswered questions after which the kernel gives a connection up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Latency) and value <= 0:
                raise ValueError(f"{field.name} must be positive, got {value}")

    def latency(self, source_host: str, target_host: str) -> Latency:
        return self.local if source_host == target_host else self.remote
