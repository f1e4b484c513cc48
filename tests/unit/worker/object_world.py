"""Owners, readers and their nodes in one loop: the object code of the processes is real, all else is played."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import NodeDiedError
from asyncray.ids import store_key
from asyncray.messages import STORED
from asyncray.worker.freeing import Freeing
from asyncray.worker.location import Location
from asyncray.worker.objects import Objects
from asyncray.worker.ownership import Ownership
from asyncray.worker.peers import PeerLink
from asyncray.worker.reading import Reader
from asyncray.worker.reference import Reference
from asyncray.worker.store_client import StoreClient
from asyncray.worker.whereabouts import Whereabouts

Key = bytes


class Node:
    """A node's store, as far as processes can tell: who has what, and who can be reached."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.id = name.encode() * 16
        self.address = f"{name}:1"
        self.held: set[Key] = set()
        self.primary: set[Key] = set()
        self.alive = True
        self.slow = False
        """PINs of what is not here wait until `release`."""
        self.unreachable: set[str] = set()
        """Other nodes with which this one cannot talk."""
        self.freed: list[Key] = []
        self.pins: dict[Key, int] = {}
        self.waiting: dict[int, tuple[Link, Key, list[Any], int]] = {}
        self.children: dict[Key, int] = {}

    @property
    def place(self) -> list[Any]:
        return [self.id, self.address]

    def reaches(self, other: Node) -> bool:
        return other.alive and other.name not in self.unreachable and self.name not in other.unreachable

    def handle(self, link: Link, message: tuple[Any, ...]) -> None:
        kind, *fields = message
        if kind == messages.PIN:
            number, key, _, sources, priority = fields
            if self.slow and key not in self.held:
                self.waiting[number] = link, key, sources, priority
            else:
                self._pin(link, number, key, sources)
        elif kind == messages.CANCEL:
            waiting = self.waiting.pop(fields[0], None)
            if waiting is not None:
                link.answer(fields[0], 0, messages.PIN_LOST, 0, "is not wanted")
        elif kind == messages.PROMOTE:
            number, key = fields
            if has := key in self.held:
                self.primary.add(key)
            link.answer(number, has)
        elif kind == messages.UNPIN:
            self.pins[fields[0]] -= 1
        else:
            assert kind == messages.FREE
            self.freed += fields[0]
            self.held -= set(fields[0])

    def release(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for number, (link, key, sources, _) in waiting.items():
            self._pin(link, number, key, sources)

    def _pin(self, link: Link, number: int, key: Key, sources: list[Any]) -> None:
        copy = 0
        if key not in self.held:
            others = [self.world.nodes[address] for _, address in sources]
            source = next((node for node in others if key in node.held and self.reaches(node)), None)
            if source is None:
                link.answer(number, 0, messages.PIN_LOST, 0, "is nowhere")
                return
            self.held.add(key)
            copy = source.children[key] = source.children.get(key, 0) + 1
        self.pins[key] = self.pins.get(key, 0) + 1
        link.answer(number, 0, 8, copy, "")


class Link:
    """A process's stream with a node."""

    lost = False

    def __init__(self, process: Process, node: Node) -> None:
        self._process = process
        self.node = node
        self.node_id = node.id
        self.address = node.address
        self.arena = ("", 0, 0, "")
        self._requests: dict[int, asyncio.Future[list[Any]]] = {}
        self._number = 0

    def send(self, *message: Any) -> None:
        if self._process.node.reaches(self.node):
            asyncio.get_running_loop().call_soon(self.node.handle, self, message)

    def ask(self, kind: int, *fields: Any) -> tuple[int, asyncio.Future[list[Any]]]:
        self._number += 1
        future = self._requests[self._number] = asyncio.get_running_loop().create_future()
        if self._process.node.reaches(self.node):
            self.send(kind, self._number, *fields)
        else:
            future.set_exception(NodeDiedError("out of reach"))
        return self._number, future

    async def request(self, kind: int, *fields: Any) -> list[Any]:
        return await self.ask(kind, *fields)[1]

    def answer(self, number: int, *fields: Any) -> None:
        self._requests.pop(number).set_result(list(fields))


class Process:
    """The runtime of a process, without its tasks."""

    def __init__(self, world: World, name: str, node: Node) -> None:
        self.world = world
        self.node = node
        self.id = name.encode() * 16
        self.address: list[Any] = [self.id, node.id, f"/{name}", f"{name}:2"]
        self.links: dict[bytes, PeerLink] = {}
        self.sent: list[tuple[Any, ...]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        own = Link(self, node)
        self.runtime: Any = SimpleNamespace(
            peers=SimpleNamespace(handlers={}, needed=[], on_lost=[], link=self._link, find=self._find),
            nodes=SimpleNamespace(
                handlers={},
                on_lost=[],
                own=own,
                other=lambda address, node_id=b"": Link(self, world.nodes[address]),
            ),
            ownership=Ownership(self.id),
            ownership_lock=threading.Lock(),
            config=Config(read_retry_delay=0.001),
            loop=asyncio.get_running_loop(),
            process_id=self.id,
            address=self.address,
            executor=None,
            spawn=self._spawn,
            call_soon=lambda callback, *args: asyncio.get_running_loop().call_soon(callback, *args),
            awaiting=lambda: threading.Lock(),
            restorer=lambda source: None,
        )
        self.objects = self.runtime.objects = Objects(self.runtime)
        self.store = self.runtime.store = StoreClient(self.runtime)
        arena: Any = SimpleNamespace(view=lambda offset, size: memoryview(bytes(size)))
        self.store._arena = arena
        self.reader = self.runtime.reader = Reader(self.runtime)
        self.whereabouts = self.runtime.whereabouts = Whereabouts(self.runtime)
        self.freeing = self.runtime.freeing = Freeing(self.runtime)

    def put(self, number: int = 1) -> Reference:
        """An object of this process, in its node's store."""
        reference: Reference = self.runtime.ownership.own(bytes([number]) * 20)
        location = Location(*self.node.place, 8, self.id, origin="put by a test")
        self.node.held.add(self.key(reference))
        self.node.primary.add(self.key(reference))
        self.objects.resolve_stored(reference, location)
        return reference

    def borrow(self, reference: Reference, owner: Process) -> Reference:
        """Takes a reference of another process, and lets the owner know of it."""
        borrowed: Reference = self.runtime.ownership.borrow(reference.id, owner.address)
        self.runtime.ownership.take_effects()
        owner.runtime.ownership.on_borrow(self.address, reference.id, borrowed.sequence)
        owner.runtime.ownership.take_effects()
        return borrowed

    def key(self, reference: Reference) -> Key:
        return store_key(reference.id, reference.owner[0] if reference.owner is not None else self.id)

    async def read(self, *references: Reference) -> None:
        """Raises what reading the first one that fails raises."""
        await self.objects.all_local(references)
        for reference in references:
            error = self.objects.load_exception(reference)
            if error is not None:
                raise error

    def drop(self, reference: Reference) -> None:
        self.objects.forget(reference)

    def location(self, reference: Reference) -> Location:
        assert reference.state == STORED and type(reference.value) is Location
        return reference.value

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _find(self, process_id: bytes) -> PeerLink | None:
        return self._link([process_id, b"", "", ""])

    def _link(self, address: list[Any]) -> PeerLink:
        link = self.links.get(address[0])
        if link is None:
            link = self.links[address[0]] = PeerLink(address)
            stream: Any = SimpleNamespace(send=lambda message: self._send(address[0], message))
            link.stream = stream
        return link

    def _send(self, target: bytes, message: tuple[Any, ...]) -> None:
        self.sent.append(message)
        asyncio.get_running_loop().call_soon(self.world.deliver, self, target, message)


class World:
    """Processes by id, nodes by address."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.processes: dict[bytes, Process] = {}

    def node(self, name: str) -> Node:
        node = Node(self, name)
        self.nodes[node.address] = node
        return node

    def process(self, name: str, node: Node) -> Process:
        process = Process(self, name, node)
        self.processes[process.id] = process
        return process

    def deliver(self, sender: Process, target: bytes, message: tuple[Any, ...]) -> None:
        receiver = self.processes.get(target)
        if receiver is not None:
            receiver.runtime.peers.handlers[message[0]](receiver._link(sender.address), *message[1:])

    def kill(self, process: Process) -> None:
        del self.processes[process.id]
        for other in self.processes.values():
            for callback in other.runtime.peers.on_lost:
                callback(other._link(process.address), "it was killed")

    def kill_node(self, node: Node, *, told: bool = True) -> None:
        """With `told`, all other processes hear of it at once."""
        node.alive = False
        node.held.clear()
        if told:
            for process in self.processes.values():
                process.whereabouts.node_died(node.id)


async def settle(world: World) -> None:
    """Returns when nothing runs or is on its way but timers and requests that wait."""
    for _ in range(50):
        await asyncio.sleep(0)
