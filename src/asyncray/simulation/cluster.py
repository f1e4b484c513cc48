"""`SimCluster`: a control plane, nodes, workers and drivers, all real, in a simulated world."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar

from asyncray.config import DEFAULT, Config
from asyncray.control.service import ControlPlane
from asyncray.errors import AsyncrayError
from asyncray.resources import to_units
from asyncray.rpc.service import Service
from asyncray.simulation.drivers import Drivers
from asyncray.simulation.network import Conditions
from asyncray.simulation.node import SimNode, new_node, socket_dir
from asyncray.simulation.process import Process
from asyncray.simulation.world import World
from asyncray.worker import current
from asyncray.worker.main import new_worker
from asyncray.worker.runtime import Runtime

_T = TypeVar("_T")

_CONTROL_PORT: Final = 6379
STORE: Final = 64 * 1024 * 1024
"""Bytes of a node's object store, if nothing else is said."""
_START_DELAY: Final = (0.002, 0.02)
_EXIT_DELAY: Final = (0.0001, 0.002)


class SimCluster:
    """A simulated cluster: same seed, same run, whatever happens in it. `run` is its whole life.

        async def main(cluster):
            await cluster.add_node(num_cpus=2)
            async with asyncray.init():
                assert await double.remote(21) == 42

        SimCluster(seed=7).run(main)

    Time is virtual: `await asyncio.sleep(3600)` takes no real time. User code must not block the real thread.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        config: Config = DEFAULT,
        conditions: Conditions | None = None,
        horizon: float = 3600.0,
    ) -> None:
        """`horizon`: virtual seconds that the run may take."""
        self.world = World(seed, config, conditions or Conditions(), horizon=horizon)
        self.nodes: list[SimNode] = []
        """The living ones."""
        self._homes: dict[Process, SimNode] = {}
        """The same, by the processes of their node managers."""
        self.control: ControlPlane | None = None
        self.runtimes: dict[Process, Runtime] = {}
        """Of all living drivers and workers."""
        self._control_process: Process | None = None
        self._machines = itertools.count(1)
        self._node_numbers = itertools.count(1)
        self._control_planes = itertools.count(1)
        self._drivers = Drivers(self.world, self)
        self._delays = self.world.random("process starts")

    def run(self, main: Callable[[SimCluster], Coroutine[Any, Any, _T]]) -> _T:
        """Starts a control plane, runs `main(cluster)` as a driver's program, and ends everything with it.

        Raises what `main` raises; Deadlock, HorizonReached; SimulationFailed for exceptions that nobody handled.
        """
        return self.world.run(self._run(main))

    async def _run(self, main: Callable[[SimCluster], Coroutine[Any, Any, _T]]) -> _T:
        await self._start_control()
        return await self._drivers.run(main(self), None, listed=False)

    # ------------------------------------------------------------------- control plane

    @property
    def address(self) -> str:
        """`host:port` of the control plane."""
        assert self._control_process is not None
        return f"{self._control_process.host}:{_CONTROL_PORT}"

    async def _start_control(self) -> None:
        host = self._control_process.host if self._control_process is not None else self._new_host()
        number = next(self._control_planes)
        process = self._control_process = self.world.process(f"control {number}" if number > 1 else "control", host)
        self.world.transcript.note(process, f"starts at {self.address}")
        platform = self.world.platform(process)
        control = self.control = process.call(
            lambda: ControlPlane(
                platform.network,
                self.world.config,
                host=process.host,
                port=_CONTROL_PORT,
                cluster_id=platform.entropy(16),
            )
        )
        process.on_death(self._control_died)
        await self._serve(process, control)

    async def kill_control(self) -> None:
        """SIGKILL to the control plane. Its nodes end, each as soon as it notices. RuntimeError if it does not run."""
        if self._control_process is None or not self._control_process.alive:
            raise RuntimeError("the control plane does not run")
        self._control_process.kill("killed by SIGKILL")

    async def restart_control(self) -> None:
        """Starts another control plane, with the address of the one that was killed, and nothing of what it knew.

        Returns when it serves. Nodes and jobs of before do not come back. RuntimeError if one still runs.
        """
        if self._control_process is not None and self._control_process.alive:
            raise RuntimeError("the control plane still runs")
        await self._start_control()

    # --------------------------------------------------------------------------- nodes

    async def add_node(
        self,
        num_cpus: float = 1,
        *,
        num_gpus: float = 0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        object_store_memory: int = STORE,
        host_memory: int | None = None,
    ) -> SimNode:
        """A new machine with a node manager. Returns when it has joined the cluster.

        With `host_memory`, in bytes, the node watches that, and ends workers when they use too much of it.

        Raises AsyncrayError if it dies before.
        """
        process = self.world.process(f"node {next(self._node_numbers)}", self._new_host())
        self.world.transcript.note(process, f"starts at {process.host} with {num_cpus:g} CPUs")
        amounts = {"CPU": num_cpus, "GPU": num_gpus, "object_store_memory": object_store_memory, **(resources or {})}
        if memory is not None:
            amounts["memory"] = memory
        if host_memory is not None:
            self.world.memory(process.host).total = host_memory
        threshold = self.world.config.memory_threshold if host_memory is not None else 0.0
        node = process.call(
            lambda: new_node(
                self.world,
                self,
                process,
                control=self.address,
                is_head=not self.nodes,
                resources=to_units(amounts),
                labels=labels or {},
                memory_threshold=threshold,
            )
        )
        self.nodes.append(node)
        self._homes[process] = node
        process.on_death(lambda cause: self._node_died(node))
        await self._serve(process, node.manager, lambda: node.manager.control.registered)
        return node

    async def remove_node(self, node: SimNode) -> None:
        """Stops a node as SIGTERM would. Returns when it has ended."""
        ended = self.world.loop.create_future()
        node.process.on_death(lambda cause: ended.set_result(None))
        node.process.call(node.manager.request_stop, "SIGTERM")
        await ended

    async def kill_node(self, node: SimNode) -> None:
        """SIGKILL to all processes of the node, but not to drivers; the machine lives on."""
        node.process.kill("killed by SIGKILL")

    def lose_machine(self, node: SimNode) -> None:
        """The power fails: everything there is gone, and nobody is told."""
        self.world.network.host_died(node.host)
        for process in self.world.processes:
            if process.host == node.host:
                process.kill("its machine lost power")
        self.world.disk(node.host).power_lost()

    def use_memory(self, process: Process, size: int) -> None:
        """The process has so many bytes of its machine's memory from now on."""
        self.world.memory(process.host).use(process, size)

    def kill_worker(self, worker: Process) -> None:
        worker.kill("killed by SIGKILL")

    def kill_driver(self, driver: Process) -> None:
        driver.kill("killed by SIGKILL")

    def hosts(self) -> list[str]:
        """The machines with a living control plane or node."""
        control = [self._control_process.host] if self.control and self._control_process else []
        return [*control, *(node.host for node in self.nodes)]

    def partition(self, one: SimNode | None, other: SimNode | None, *, both: bool = True) -> None:
        """Nothing gets from the machine of one to that of the other any more (nor back); it is held until `heal`.

        None is the control plane, here and below.
        """
        self.world.network.partition(self._host(one), self._host(other), both=both)

    def heal(self) -> None:
        """Ends all partitions."""
        self.world.network.heal_all()

    def cut(self, one: SimNode | None, other: SimNode | None) -> None:
        """Breaks the connections between two machines. New ones work."""
        self.world.network.cut(self._host(one), self._host(other))

    def _host(self, node: SimNode | None) -> str:
        if node is not None:
            return node.host
        assert self._control_process is not None
        return self._control_process.host

    def freeze(self, process: Process) -> None:
        """SIGSTOP: nothing of it runs, though its kernel still takes what others send."""
        process.freeze()
        self.world.network.froze(process)

    def thaw(self, process: Process) -> None:
        """SIGCONT; nothing for a process that is not frozen."""
        process.thaw()
        self.world.network.thawed(process)

    def workers(self) -> list[Process]:
        """The living workers of all nodes."""
        return [worker for node in self.nodes for worker in node.workers.values()]

    def drivers(self) -> list[Process]:
        """The living ones that were started with `driver`: the test's own is none of them."""
        return self._drivers.living()

    # ------------------------------------------------------------------------- drivers

    def driver(self, program: Coroutine[Any, Any, _T], node: SimNode | None = None) -> asyncio.Future[_T]:
        """Runs a program as a driver's process, on the machine of `node` (that of the oldest node).

        The future has its outcome; AsyncrayError if the process dies first.
        """
        return self._drivers.run(program, node, listed=True)

    # -------------------------------------------------------------- for the launcher

    def start_worker(self, node: Process, process_id: bytes, specification: dict[str, Any]) -> Process:
        home = self._homes[node]
        home.started += 1
        process = self.world.process(f"worker {node.name.split()[1]}.{home.started}", node.host)
        home.workers[process_id] = process
        process.on_death(partial(self._worker_died, home, process, process_id))
        delay = self.start_delay()
        self.world.loop.call_later(delay, self._run_worker, process, specification, context=process.context)
        return process

    def start_delay(self) -> float:
        return self._delays.uniform(*_START_DELAY)

    def exit_delay(self) -> float:
        return self._delays.uniform(*_EXIT_DELAY)

    # -----------------------------------------------------------------------------

    def _new_host(self) -> str:
        number = next(self._machines)
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"

    async def _serve(
        self, process: Process, service: Service, joined: Callable[[], asyncio.Future[None]] | None = None
    ) -> None:
        """Runs a daemon in its process; returns once it serves, and has joined. When it ends, so does the process.

        Raises AsyncrayError when the process dies before that.
        """
        ready: asyncio.Future[None] = self.world.loop.create_future()

        def is_ready() -> None:
            if joined is None:
                ready.set_result(None)
            else:
                joined().add_done_callback(lambda _: ready.set_result(None))

        def died(cause: str) -> None:
            if not ready.done():
                ready.set_exception(AsyncrayError(f"{process.name} did not start: {cause}"))

        async def serve() -> None:
            cause = "exit code 0"
            try:
                await service.serve(on_ready=is_ready)
            except AsyncrayError as error:
                cause = f"exit code 1: {error}"
            self.world.loop.call_soon(process.kill, cause, context=Context())

        process.on_death(died)
        process.spawn(serve(), name=service.name)
        await ready

    def _run_worker(self, process: Process, specification: dict[str, Any]) -> None:
        asyncio.get_running_loop().create_task(self._worker(process, specification), name=process.name)

    async def _worker(self, process: Process, specification: dict[str, Any]) -> None:
        surroundings = _WorkerSurroundings()
        current.simulated.set(surroundings)
        process.context.run(current.simulated.set, surroundings)
        platform = self.world.platform(process)
        runtime, executor = new_worker(platform, self.world.config, specification)
        self.runtimes[process] = runtime
        code = 1
        try:
            await runtime.start()
            platform.threads.start(executor.run_main, "main thread")
            await runtime.wait_stop_requested()
            executor.stop_main()
            await runtime.stop()
            code = executor.exit_code
        except AsyncrayError as error:
            self.world.transcript.note(process, f"cannot start: {error}")
        self.world.loop.call_soon(process.kill, f"exit code {code}", context=Context())

    def _control_died(self, cause: str) -> None:
        self.control = None

    def _node_died(self, node: SimNode) -> None:
        self.nodes.remove(node)
        del self._homes[node.process]
        self.world.disk(node.host).contents.clear(socket_dir(node.process))  # as its zygote would

    def _worker_died(self, home: SimNode, process: Process, process_id: bytes, cause: str) -> None:
        home.workers.pop(process_id, None)
        self.runtimes.pop(process, None)


class _WorkerSurroundings:
    def __init__(self) -> None:
        self.runtime: Runtime | None = None

    def new_driver(self, namespace: str, settings: dict[str, Any]) -> Runtime:
        raise AsyncrayError("init() is for drivers: a task or an actor belongs to its cluster")
