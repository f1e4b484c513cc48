"""The runtime of a process that runs user code: a driver's, on its own loop, or a worker's."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import AsyncrayError, NodeDiedError
from asyncray.messages import Address
from asyncray.platform import Platform
from asyncray.rpc.network import Listener
from asyncray.rpc.own_address import reachable
from asyncray.rpc.sockets import format_address
from asyncray.session import process_socket
from asyncray.worker import current
from asyncray.worker.actor_client import ActorClient
from asyncray.worker.call_sites import RECORD_CALL_SITES, RecordingOwnership
from asyncray.worker.context import TaskContext
from asyncray.worker.control_link import ControlLink
from asyncray.worker.freeing import Freeing
from asyncray.worker.functions import FunctionTable
from asyncray.worker.memory_rows import MemoryRows
from asyncray.worker.node_link import NodeLink, Nodes
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.objects import Objects
from asyncray.worker.outgoing import Outgoing
from asyncray.worker.ownership import Ownership
from asyncray.worker.peers import PeerLink, Peers
from asyncray.worker.puts import Puts
from asyncray.worker.reading import Reader
from asyncray.worker.reference import Execution, Reference
from asyncray.worker.reference_counts import ReferenceCounts
from asyncray.worker.store_client import StoreClient
from asyncray.worker.submission import Submitter
from asyncray.worker.whereabouts import Whereabouts

if TYPE_CHECKING:
    from asyncray.worker.execution import Executor

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_DROPS_PER_TURN = 5000
"""A million references dropped at once must not hold up the loop: this many take about 10 ms."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a process belongs."""

    node_target: str
    """`unix:/path` of the node manager of this machine."""
    control_target: str
    """`unix:/path` or `host:port` of the control plane."""
    node_id: bytes
    socket_dir: str
    host: str = "127.0.0.1"
    node_name: str = "localhost"


@dataclass(slots=True)
class Job:
    """A driver's program."""

    job_id: bytes
    information: dict[str, Any] = field(default_factory=dict)
    """`sys_path`, `namespace`, `pid`, `entrypoint`, and `output`: the address to which workers send what they print."""


class Runtime:
    """Ties the parts together. Everything runs on the loop that called `start`; what other threads may call says so."""

    def __init__(
        self, platform: Platform, config: Config, membership: Membership, role: str, process_id: bytes, job: Job | None
    ) -> None:
        self.platform = platform
        self.config = config
        self.membership = membership
        self.role = role
        self.pid = platform.pid
        self.node_name = membership.node_name
        self.process_id = process_id
        self.loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._ident = platform.threads.ident
        self._thread = self._ident()
        self._job = job
        self.address: Address = [process_id, membership.node_id, process_socket(membership.socket_dir, process_id), ""]
        self.root = TaskContext(platform.entropy(16), job.job_id if job else b"", "driver" if job else "worker")
        self.ownership = (
            RecordingOwnership(process_id) if platform.environment.get(RECORD_CALL_SITES) else Ownership(process_id)
        )
        self.ownership_lock = threading.Lock()
        self.dropped: deque[Reference] = deque()
        """What `ObjectRef.__del__` leaves here, in any thread; the loop drains it."""
        self._inbox: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._turn_scheduled = False
        self._active = True
        """Whether anything has happened since the last sweep."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._numbers = 0
        self._listener: Listener | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._joined: asyncio.Future[None] = self.loop.create_future()
        self._stop_requested: asyncio.Future[None] = self.loop.create_future()
        self.stopping = False
        self.log_to_driver = True
        self.keeps_views = role == "driver"
        """Whether arrays that have been read are used after `stop`. At the end of a program they are not worth it."""
        self.peers = Peers(self)
        self.nodes = Nodes(self)
        self.control = ControlLink(self, membership.control_target)
        self.objects = Objects(self)
        self.store = StoreClient(self)
        self.reader = Reader(self)
        self.whereabouts = Whereabouts(self)
        self.freeing = Freeing(self)
        self.functions = FunctionTable(self)
        self.submitter = Submitter(self)
        self.outgoing = Outgoing(self)
        self.puts = Puts(self)
        self.actors = ActorClient(self)
        self.memory_rows = MemoryRows(self)
        self.executor: Executor | None = None
        """What runs calls of others; workers have one."""
        self.nodes.handlers[messages.WARNING] = _warned
        self.nodes.handlers[messages.NODE_DIED] = self._node_died
        self.peers.handlers[messages.LOG] = self._on_log
        self.control.handlers[messages.WARNING] = _log.warning
        self.counts = ReferenceCounts(self)

    # ----------------------------------------------------------------- life

    @property
    def job_id(self) -> bytes | None:
        return self._job.job_id if self._job else None

    @property
    def job(self) -> dict[str, Any]:
        return self._job.information if self._job else {}

    async def start(self) -> None:
        """Listens for peers, joins the node; a driver registers its job.

        Raises ConnectionFailed, AuthenticationError.
        """
        network = self.platform.network
        try:
            self._listener = await network.listen(
                streams=self.peers.streams, unix_path=self.address[2], host=self.membership.host
            )
            self.address[3] = format_address(reachable(self.membership.host), self._listener.port)
            if self.role == "driver":
                self.job["output"] = self.address if self.log_to_driver else None
                job = self.spawn(self.control.open_job(), name="open job")  # which `stop` ends if the node fails
                await asyncio.gather(self.nodes.connect(self.membership.node_target), job)
            else:
                await self.nodes.connect(self.membership.node_target)
        except BaseException as error:
            self._joined.set_exception(NodeDiedError(f"this process could not join its node: {error}"))
            self._joined.exception()  # it may be that nobody waits
            self.submitter.fail_all(error)
            await self.stop()
            raise
        self._joined.set_result(None)
        self.submitter.joined()
        self._sweep()

    def request_stop(self) -> None:
        if not self._stop_requested.done():
            self._stop_requested.set_result(None)

    async def wait_stop_requested(self) -> None:
        await self._stop_requested

    async def joined(self) -> None:
        """Returns when this process has its node. Raises NodeDiedError when it will not."""
        await asyncio.shield(self._joined)

    async def stop(self) -> None:
        """Leaves the cluster. What this process owns is lost; what waits fails."""
        if self.stopping:
            return
        self.stopping = True
        if current.get_runtime() is self:
            current.set_runtime(None)
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self.keeps_views:
            self.store.keep_views()
        self.submitter.leases.return_idle()
        self.submitter.postponed.close()
        self.control.close()
        self.peers.close()
        self.nodes.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        cancellation = None
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError as error:  # the caller will not stop it again
            cancellation = error
        self.objects.close(AsyncrayError("asyncray was shut down before the value was there"), tell=True)
        try:
            if self._listener is not None:
                await self._listener.close()
        finally:
            self.store.close()
        try:
            if cancellation is not None:
                raise cancellation
        finally:
            del cancellation  # what is raised keeps this frame, which must not keep it in turn

    def forked(self) -> None:
        """In the child of a fork: whatever is not here yet cannot come. Nothing is sent, and nobody called back."""
        self.stopping = True
        self.ownership_lock = threading.Lock()  # another thread of the parent may have held it
        self.schedule_turn = _do_nothing  # type: ignore[method-assign]
        error = AsyncrayError("the value was not there when this process was forked: wait for it in the parent")
        self.objects.close(error, tell=False)

    def spawn(self, coroutine: Coroutine[Any, Any, _T], *, name: str) -> asyncio.Task[_T]:
        """A task of the runtime, ended with it. A failure that nobody awaits is logged."""
        # In a context of its own: else what runs for one caller would see the context variables of another.
        task = self.loop.create_task(coroutine, name=name, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(self._tasks.__delitem__)
        return task

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def assign(self, job_id: bytes, information: dict[str, Any]) -> None:
        """This worker belongs to a job from now on."""
        self._job = Job(job_id, information)
        self.root.job_id = job_id
        for path in reversed(information.get("sys_path", [])):
            if path not in sys.path:
                sys.path.insert(0, path)

    def endpoint(self, address: Address) -> str:
        """How to dial a process: its Unix socket on the same node, else TCP."""
        return f"unix:{address[2]}" if address[1] == self.membership.node_id else str(address[3])

    # ------------------------------------------------------------ turns of the loop

    def on_loop(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return self._ident() == self._thread

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Has the loop call it in this turn or the next; in the order of the calls. Any thread."""
        self._inbox.append((callback, args))
        self.schedule_turn()

    def call_now(self, callback: Callable[..., Any], *args: Any) -> None:
        """Calls it at once on the loop's thread, else as `call_soon` does. Either way in the order of the calls."""
        if self._ident() == self._thread and not self._inbox:
            callback(*args)
        else:
            self.call_soon(callback, *args)

    def schedule_turn(self) -> None:
        """Any thread."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            if self._ident() == self._thread:
                self.loop.call_soon(self._turn)
            else:
                with contextlib.suppress(RuntimeError):  # the loop was closed under us
                    self.loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        self._active = True
        self.run_inbox()
        if self.dropped:
            self.drain_dropped()
        self.submitter.turn()
        if self.ownership.effects:
            self.counts.apply()

    def run_inbox(self) -> None:
        """Makes the calls that `call_soon` has been given so far. Loop thread only."""
        inbox = self._inbox
        try:
            while inbox:
                callback, args = inbox.popleft()
                callback(*args)
        except BaseException:
            self.schedule_turn()  # the others, and the rest of this turn, must not wait until somebody calls again
            raise

    def drain_dropped(self) -> None:
        dropped = self.dropped
        if dropped:
            with self.ownership_lock:
                drop = self.ownership.drop
                for _ in range(min(len(dropped), _DROPS_PER_TURN)):
                    drop(dropped.popleft())
            if dropped:
                self.schedule_turn()
            if self.ownership.effects:
                self.counts.apply()

    def _sweep(self) -> None:
        """What need not happen at once: dropped references of an idle process, idle leases and links, unused pins."""
        if self.dropped:
            self.schedule_turn()
        now = self.loop.time()
        self.submitter.sweep(now)
        self.store.sweep()
        self.nodes.sweep(now)
        self.peers.sweep(now)
        active, self._active = self._active, False
        interval = self.config.reference_sweep_interval if active else self.config.idle_sweep_interval
        self._sweeper = self.loop.call_later(interval, self._sweep)

    def _node_died(self, node: NodeLink, node_id: bytes) -> None:
        self.nodes.node_died(node_id)
        self.peers.node_died(node_id)
        self.whereabouts.node_died(node_id)

    def _on_log(self, link: PeerLink, pid: int, name: str, stream: str, lines: str) -> None:
        """A worker's output, shown as this process's own, each line with its origin."""
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.writelines(f"({name} pid={pid}) {line}\n" for line in lines.split("\n"))

    # ----------------------------------------------------------------- references

    def restore(self, object_id: bytes, owner: Address, source: Reference | Execution | None) -> ObjectRef:
        """A reference that has just been deserialised. Any thread."""
        with self.ownership_lock:
            reference = self.ownership.borrow(object_id, owner, source)
        if self.ownership.effects:
            self.schedule_turn()
        return ObjectRef(reference, self)

    def restorer(self, source: Reference | Execution | None) -> Callable[[bytes, Address], ObjectRef]:
        """What deserialisation calls for each reference inside the value of `source`."""
        return lambda object_id, owner: self.restore(object_id, owner, source)

    def cancel(self, reference: Reference) -> None:
        """Withdraws the work behind a reference of this process. Any thread."""
        if reference.owner is None:
            self.call_now(self._withdraw, reference)  # after its submission, which may not have taken place yet

    def _withdraw(self, reference: Reference) -> None:
        self.submitter.withdraw(reference)
        self.objects.cancel(reference)

    # ------------------------------------------------------------------- waiting

    def run_blocking(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine on the loop for another thread, which waits. A task that does so counts as blocked."""
        if self.on_loop():
            coroutine.close()
            raise RuntimeError("a blocking call on the event loop's own thread would wait for itself: await instead")
        with self.blocked() as over:
            return self.platform.threads.wait(_then(coroutine, over), self.loop)

    def blocked(self) -> AbstractContextManager[Callable[[], None]]:
        """While the calling thread waits for an object: in a worker, its task counts as blocked.

        What it gives is to be called on the loop when the object is there.
        """
        return contextlib.nullcontext(_do_nothing) if self.executor is None else self.executor.blocking.blocked()

    def awaiting(self) -> AbstractContextManager[None]:
        """The same while the current coroutine waits for an object. Loop thread only."""
        return contextlib.nullcontext() if self.executor is None else self.executor.blocking.awaiting()

    def log_flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


async def _then(coroutine: Coroutine[Any, Any, _T], callback: Callable[[], None]) -> _T:
    try:
        return await coroutine
    finally:
        callback()


def _warned(node: NodeLink, text: str) -> None:
    _log.warning(text)


def _do_nothing() -> None:
    pass
