"""A process's links with others, its requests to nodes, its pins, and the turns of its loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from asyncray.rpc.stream import FrameStream
from asyncray.simulation.invariants.naming import object_name, runtime_name, short
from asyncray.simulation.invariants.references import known_references
from asyncray.simulation.invariants.state import Survivors
from asyncray.worker.location import Location
from asyncray.worker.node_link import NodeLink
from asyncray.worker.peers import PeerLink
from asyncray.worker.runtime import Runtime
from asyncray.worker.store_client import Pin


def inconsistencies(runtime: Runtime) -> Iterator[str]:
    """A link has a stream, or somebody dials; nothing waits for a stream that is there, or a turn that is not."""
    where = runtime_name(runtime)
    tasks = {task.get_name() for task in runtime._tasks}
    for process_id, link in runtime.peers._links.items():
        what = f"{where}: its link with process {short(link.process_id)}"
        if link.process_id != process_id or link.lost:
            yield f"{what} is {'lost' if link.lost else 'listed as that with ' + short(process_id)}"
        yield from _peer(what, link, dialling=f"dial {short(process_id)}" in tasks)
    for target, node in runtime.nodes._links.items():
        what = f"{where}: its link with the node at {node.target}"
        if node.target != target or node.lost:
            yield f"{what} is {'lost' if node.lost else 'listed as that with ' + target}"
        dialling = f"dial node {target}" in tasks or (node is runtime.nodes.own and not runtime._joined.done())
        yield from _node(what, node, dialling=dialling)
    if (runtime._inbox or runtime.ownership.effects) and not runtime._turn_scheduled:
        kind = "calls" if runtime._inbox else "effects of reference counting"
        yield f"{where}: {kind} are to be carried out, and no turn of the loop is scheduled"
    yield from _pins(where, runtime)


def _peer(what: str, link: PeerLink, *, dialling: bool) -> Iterator[str]:
    if link.dialling and not dialling:
        yield f"{what} is to be dialled, and nobody does"
    if link.calls < 0 or (link.late and link.asked is None):
        yield f"{what} has {link.calls} calls to answer, and {len(link.late)} streams of which nothing is known"
    if link.stream is None:
        if not dialling and link.asked is None:
            yield f"{what} has no stream, and nobody dials"
    elif link.asked is not None:
        yield f"{what} is used, though the other side has been asked to part"
    elif link.stream not in link.streams:
        yield f"{what} sends on a stream on which nothing can be received"
    elif link._backlog or link._waiting:
        yield f"{what} has a stream, and {len(link._backlog or ())} messages wait for one"


def _node(what: str, link: NodeLink, *, dialling: bool) -> Iterator[str]:
    if link.stream is None:
        if not dialling:
            yield f"{what} has no stream, and nobody dials"
    elif link._backlog:
        yield f"{what} has a stream, and {len(link._backlog or ())} messages wait for one"


def _pins(where: str, runtime: Runtime) -> Iterator[str]:
    store = runtime.store
    readers: Counter[Pin] = Counter()
    for reference in known_references(runtime.ownership):
        if type(reference.value) is Location and reference.value.pin is not None:
            readers[reference.value.pin] += 1
    for key, pin in store._pins.items():
        what = f"{where}: its pin of object {object_name(key)}"
        if pin.key != key:
            yield f"{what} is that of object {object_name(pin.key)}"
        if pin.holders < readers[pin]:
            yield f"{what} is needed by {readers[pin]} references, and {pin.holders} are counted"
        elif not pin.holders and pin not in store._unused:
            yield f"{what} is not needed, and will not be given back"


def idle(runtime: Runtime) -> Iterator[str]:
    """Links that nobody needs any more: they end after a while."""
    where = runtime_name(runtime)
    processes = [processes() for processes in runtime.peers.needed]
    for link in runtime.peers._links.values():
        if runtime.peers._is_free(link, processes):
            yield f"{where}: its link with process {short(link.process_id)} is of no use any more"
    for _ in runtime.peers._farewells:
        yield f"{where}: a link with a process from which it has parted has not ended"
    needed = runtime.submitter.leases.nodes_needed()
    for node in runtime.nodes._links.values():
        if not (node is runtime.nodes.own or node.awaits_answers or node.target in needed):
            yield f"{where}: its link with the node at {node.target} is of no use any more"


def leftovers(runtime: Runtime, survivors: Survivors) -> Iterator[str]:
    """Streams are open and empty; no request, no pin, no background task; the process has started, and not ended."""
    where = runtime_name(runtime)
    if runtime.stopping or not runtime._joined.done():
        yield f"{where}: it is {'stopping' if runtime.stopping else 'starting'}"
        return
    for link in runtime.peers._links.values():
        what = f"{where}: its link with process {short(link.process_id)}"
        if link.asked is None:
            yield from _stream(what, link.stream)
        if link.calls or link.has_backlog:
            yield f"{what} has {link.calls} calls to answer, and {len(link._backlog or ())} messages to send"
    for node in runtime.nodes._links.values():
        what = f"{where}: its link with the node at {node.target}"
        yield from _stream(what, node.stream)
        if node._requests:
            yield f"{what} has {len(node._requests)} requests without an answer"
        if not node.welcomed.done():
            yield f"{what} was not welcomed"
    if runtime._inbox or runtime._turn_scheduled:
        yield f"{where}: a turn of its loop is scheduled, though everything is over"
    for function_id in runtime.functions._unexported if runtime.control.connected else ():
        yield f"{where}: function {short(function_id)} has not reached the function table"
    for name in sorted(task.get_name() for task in runtime._tasks):
        yield f"{where}: the background task {name!r} runs"
    if runtime.process_id not in survivors.processes:
        for key in {**runtime.store._pins, **{pin.key: pin for pin in runtime.store._unused}}:
            yield f"{where}: object {object_name(key)} is pinned"


def _stream(what: str, stream: FrameStream | None) -> Iterator[str]:
    if stream is None:
        yield f"{what} has no stream"
    elif stream.closed:
        yield f"{what} has ended"
    elif stream.unsent:
        yield f"{what} has {stream.unsent} bytes that are not sent"
