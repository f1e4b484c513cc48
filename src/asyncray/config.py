"""Every tunable, validated, in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Config:
    """Times are seconds, sizes are bytes."""

    inline_limit: int = 100 * 1024
    """Values up to this size travel inside messages and live in their owner's process."""
    frame_limit: int = 64 * 1024 * 1024
    """A frame larger than this closes its stream."""
    frame_target: int = 1024 * 1024
    """A loop turn's messages are split into frames of about this size."""
    http2_window: int = 64 * 1024 * 1024
    """Flow-control window of a stream and of a connection."""
    connect_timeout: float = 10.0
    """How long a dial may take before the address counts as wrong."""
    node_silence_timeout: float = 5.0
    """A node that says nothing for this long is dead. Daemons run only our code: their silence counts."""
    ping_interval: float = 1.0
    """How often an idle daemon stream is pinged."""
    reference_sweep_interval: float = 0.1
    """The longest that a dropped reference waits before its owner learns of it."""
    idle_sweep_interval: float = 0.4
    """The same in a process in which nothing else has happened for a while."""
    read_attempts: int = 5
    """How often a process tries to read a stored object whose owner says that it is there."""
    read_retry_delay: float = 0.1
    """How long it waits before the second attempt; before each further one twice as long."""
    locality_threshold: int = 1024 * 1024
    """A task goes to another node than its caller's for at least so many bytes of arguments more."""
    lease_idle_timeout: float = 0.2
    """How long a lease without work is kept."""
    lease_requests_in_flight: int = 16
    """Lease requests per scheduling class that wait at a node at the same time."""
    link_idle_timeout: float = 3.0
    """A connection with another process, or another node, that has been of no use for this long is closed."""
    pipeline_time: float = 0.005
    """Tasks are sent ahead to a worker up to about this much work."""
    pipeline_limit: int = 256
    """Tasks sent ahead to one worker at the most."""
    handback_after: float = 0.05
    """A worker whose running task takes longer than this returns the tasks that wait behind it."""
    loop_watchdog: float = 1.0
    """A coroutine that blocks a worker's loop for longer is named in the log."""
    worker_idle_timeout: float = 10.0
    """Idle workers above the number of CPUs end after this time."""
    worker_start_timeout: float = 30.0
    """A forked worker that has not registered by then is ended."""
    stop_timeout: float = 3.0
    """How long a stopping process may take before it is killed."""
    infeasible_warning_after: float = 5.0
    """A lease that no node can ever grant is warned of after this time."""
    resource_report_interval: float = 0.1
    """Changed resources reach the control plane within this time."""
    store_full_timeout: float = 30.0
    """How long a request for room in a full object store waits while nothing there moves."""
    overflow_after: float = 1.0
    """When all that is in the object store is pinned and nothing has moved for so long, new objects go to disk."""
    overflow_share: float = 16.0
    """Size of the object store's overflow, where they go, as a share of its own. It takes no disk until it is used."""
    spill_threshold: float = 0.8
    """Objects that nobody reads go to disk once this share of the object store is in use."""
    spill_file_size: int = 64 * 1024 * 1024
    """Spilled objects share files up to this size."""
    spill_retry_delay: float = 1.0
    """A directory in which spilling has failed is left alone for this time."""

    memory_threshold: float = 0.95
    """Share of the machine's memory above which a node ends workers, one at a time."""
    memory_check_interval: float = 0.25
    """How often a node looks at it."""
    memory_retry_delay: float = 1.0
    """A task whose worker was ended for memory runs again after this time, and twice that the next time, and so on."""
    memory_retry_delay_limit: float = 30.0
    """The longest that this delay gets."""
    pull_memory_share: float = 0.5
    """Objects on their way to a node take up to this share of its store, but for one that is larger."""
    copies_served_at_once: int = 2
    """So many nodes pull an object from one node at the same time; others wait, or are sent on to who has it."""
    pull_redirections: int = 16
    """A pull that was sent on so often waits where it is."""
    exchange_idle_timeout: float = 60.0
    """A stream between two nodes that has nothing to do is closed after this time."""
    bulk_threads: int = 32
    """Objects that a node sends at the same time, and receives at the same time, at the most."""
    bulk_silence_timeout: float = 10.0
    """A peer that neither sends nor takes anything for so long in the middle of an object is given up."""
    bulk_idle_timeout: float = 30.0
    """A connection for the bytes of objects is kept for so long for the next one."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"{field.name} must be positive, got {value}")
        if self.inline_limit > self.frame_target:
            raise ValueError("inline_limit cannot exceed frame_target: an inline value must fit one frame")


DEFAULT = Config()
