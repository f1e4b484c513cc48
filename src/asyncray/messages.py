"""The messages of the streams: their kinds, and the shapes that a decoder accepts.

A message is a msgpack array: its kind (int), then its fields. `SHAPES[kind]` is the set of tuples of
exact Python types that the whole array (kind included) may have; `rpc/stream.py` refuses all else, so a
handler can take its fields as they are. Field names below stand in the order of the array.

An *address* is the array `[process_id, node_id, unix_path, tcp]`: 16 bytes, 16 bytes, the path of the
process's Unix socket, `host:port`. A *key* is what the nodes' stores know an object by (`ids.store_key`):
its id and its owner. A *location* of a stored object is `[node_id, node address, size, owner process_id,
copies]`, where copies are `[node_id, node address]` each. A *value* is the bytes of `serialization.py`. A
*contained* field lists the references inside a value: `[[object_id, owner_address], ...]`, or None when there
are none.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

Address = list[Any]
"""`[process_id, node_id, unix_path, tcp]`, as it travels."""

Message = tuple[Any, ...] | list[Any]

# ---- every stream
HELLO: Final = 1  # address, role ("driver", "worker", "node"): who dialled; the first message of each stream

# ---- peer streams: between two processes that run user code
PART: Final = 2  # messages received, streams of the link: nothing is needed of the receiver any more, nor sent for now
PARTED: Final = 3  # the answer to PART: nor does the other side need anything; the link is over, and nobody is lost
STAY: Final = 4  # the answer to PART: the other side does, or messages have crossed
TEMPLATE: Final = 10  # template_id, function_id (or actor_id), name, num_returns, is_method
TASK: Final = 11  # task_id, template_id, arguments (value), references or None (see worker/arguments.py)
RESULT: Final = 12  # task_id, status, returns (each a value, or [state, value or location, contained]), microseconds
HANDBACK: Final = 13  # [task_id, ...]: not started, to be placed again
GET: Final = 14  # object_id: the borrower asks the owner for the value
VALUE: Final = 15  # object_id, state, value or location
BORROW: Final = 16  # object_id, sequence
BORROW_ACK: Final = 17  # object_id, sequence, alive
RELEASE: Final = 18  # object_id
CONFIRM: Final = 19  # task_id: the caller has borrowed what the result contains
LEASED: Final = 20  # job_id, job (as in REGISTER; at first), instances {name: [index, ...]}: for the tasks that follow
COPY: Final = 21  # object_id, node_id, node address: reader to owner, that node has a copy which can become the primary
UNREADABLE: Final = 22  # object_id, node_id of the primary copy: reader to owner, which looks for it and says RELOCATED
RELOCATED: Final = 25  # object_id, state, value or location: the answer to UNREADABLE
DISCARD: Final = 23  # [object_id, ...]: borrower to owner, free the values although references live
DISCARDED: Final = 24  # [object_id, ...]: owner to borrowers, the values are gone
LOG: Final = 54  # pid, name of the task or actor, "stdout" or "stderr", lines: what a worker prints, to its driver

# ---- node streams: a process and its node manager (or another node's, for leases)
REGISTER: Final = 30  # pid, job_id or None, job {"sys_path": [str, ...], "namespace": str, ...}; empty for a worker
LEAVE: Final = 26  # request_id: the process holds no lease here, and wants none; one that it gets now is returned
LEFT: Final = 29  # request_id: all before that LEAVE has arrived; the session can end
WELCOME: Final = 31  # node_id, node address (host:port), arena: path, bytes, bytes of its overflow (0: none), its path
LEASE_REQUEST: Final = (
    32  # request_id, resources {name: units of 1/10000}, job_id, spilled (already sent on by a node), task, retriable
)
LEASE_TASK: Final = 27  # lease_id, name of the task that runs now, retriable: when it is not as the request said
LEASE_CANCEL: Final = 33  # request_id
LEASE_GRANTED: Final = 34  # request_id, lease_id, worker address, instances {name: [index, ...]}
LEASE_SPILLED: Final = 35  # request_id, node address (host:port)
LEASE_FAILED: Final = 36  # request_id, reason
LEASE_RETURN: Final = 37  # lease_id
LEASE_RECLAIM: Final = 38  # lease_id, drain: return it if it is idle; with drain, once its tasks are done
LEASE_LOST: Final = 39  # lease_id, cause: its worker died, MemoryShortage (as a dict) if that is why, or None
BLOCKED: Final = 40  # worker: the running task waits for an object
UNBLOCKED: Final = 41
ASSIGN: Final = (
    42  # job_id, job {"sys_path", "namespace", ...}, environment {name: value}: before a worker's first task
)
CREATE_ACTOR: Final = (
    43  # actor_id, class_id, class_name, creation_task_id, payload, references, max_concurrency, owner process
)
ACTOR_CREATED: Final = 44  # actor_id, error (value) or None
EXIT: Final = 45  # graceful: finish what was received first
CREATE: Final = 46  # request_id, key, size in bytes
CREATED: Final = 47  # request_id, offset in the arena, or -1, and why not: "full" or "disk", and a text
SEAL: Final = 48  # key
ABORT: Final = 49  # key: never sealed
PIN: Final = 50  # request_id, key, size, [[node_id, node address], ...] that may have it, priority
PINNED: Final = 51  # request_id, offset, size or PIN_..., number of this copy if its owner should know, why not
UNPIN: Final = 52  # key
FREE: Final = 53  # [key, ...]: their owner needs them no more
WARNING: Final = 55  # text
REPORT: Final = 88  # request_id, rows at the most: what does the process hold?
REFERENCES: Final = 89  # request_id, rows (see worker/memory_rows.py), how many were left out
NODE_DIED: Final = 56  # node_id: another node, and with it all processes there
RELIEVE: Final = 28  # RELIEVE_...: memory of the store is short, and pinned: what should be given back
CANCEL: Final = 57  # request_id of a CREATE or PIN that nobody waits for: if it is unanswered, it is now, with -1
PROMOTE: Final = 58  # request_id, key: the copy there becomes the primary one
PROMOTED: Final = 59  # request_id, whether there is one (the primary itself, too)

# ---- control streams: a process and the control plane
JOB: Final = 60  # job_id, {"pid", "entrypoint", "namespace", ...}: the driver of a job
JOB_ACCEPTED: Final = 61  # job_id
SUBSCRIBE_ACTOR: Final = 62  # actor_id
ACTOR_STATE: Final = 63  # actor_id, state, address or None, death cause (value) or None
ACTOR_RELEASED: Final = 64  # actor_id: its last handle is gone

# ---- node session: a node manager and the control plane
REGISTER_NODE: Final = 70  # node_id, address, {"hostname", "pid", "total", "labels", "session_dir", "head"}
NODE_ACCEPTED: Final = 71  # cluster_id
RESOURCES: Final = 72  # available {name: units}, queued lease shapes
VIEW: Final = 73  # [[node_id, address, total, available, labels, alive] or [node_id, available], ...]: changed nodes
PLACE_ACTOR: Final = 74  # actor_id, job_id, job, resources, placement, CREATE_ACTOR's fields
ACTOR_PLACED: Final = 75  # actor_id, worker address, pid, error (value) or None
STOP_ACTOR: Final = 76  # actor_id, graceful
PROCESS_DIED: Final = 77  # process_id, cause: node -> control, and control -> the nodes that hold what it owned
JOB_ENDED: Final = 78  # job_id
ACTOR_DIED: Final = 79  # actor_id, cause text, MemoryShortage (as a dict) if that is why, or None
OWNER_HELD: Final = 80  # process_id, its node_id or b"": the store holds objects of a process of another node

# ---- exchange streams: between two node managers
PULL: Final = 90  # request_id, key, how often other nodes have redirected the request
PULL_GRANTED: Final = 91  # request_id, bulk address, size, number of the copy, [[node_id, node address], ...] besides
PULL_REDIRECTED: Final = 92  # request_id, node_id, node address: that one has it, and less to do
PULL_FAILED: Final = 93  # request_id, why
PULL_DONE: Final = 94  # request_id, key, whether the copy is complete; if not, nobody waits for an answer any more
DROP: Final = 95  # sequence, [key, ...], freed: their owner needs them no more; else nobody could say so any more
DROPPED: Final = 97  # sequence: the DROP has arrived; without this answer it is sent again
COPY_EVICTED: Final = 96  # [key, ...]: the copies that were pulled from the receiver

# ---- states of a value (VALUE.state, an entry of RESULT.returns)
INLINE: Final = 1  # the value itself
STORED: Final = 2  # a location: in that node's store
ERROR: Final = 3  # a pickled exception, as a value
GONE: Final = 4  # freed or lost

# ---- priorities of a PIN: what is fetched first
FOR_ARGUMENTS: Final = 0  # a task cannot begin without it
FOR_GET: Final = 1  # somebody awaits the value
FOR_WAIT: Final = 2  # somebody waits until it is here

# ---- what a RELIEVE asks for; each includes those before it
RELIEVE_READ: Final = 0  # values that were read and are not in use
RELIEVE_LATER: Final = 1  # arguments of calls that cannot begin yet, but for the first one of them
RELIEVE_WAITING: Final = 2  # those of the first one, too: another process is to have its arguments before

# ---- sizes in a PINNED that say why there is none
PIN_LOST: Final = -1  # there is no copy that can be had
PIN_FULL: Final = -2  # there is no room for it in the arena (ObjectStoreFullError)
PIN_NO_DISK: Final = -3  # nor for what would have to be spilled (OutOfDiskError)

# ---- statuses of a RESULT
OK: Final = 0
FAILED: Final = 1
"""Every return carries the same error value."""


def _shapes(kind: int, *fields: type | tuple[type, ...]) -> tuple[int, frozenset[tuple[type, ...]]]:
    alternatives = [field if isinstance(field, tuple) else (field,) for field in fields]
    return kind, frozenset((int, *combination) for combination in product(*alternatives))


_NONE = type(None)

SHAPES: Final[dict[int, frozenset[tuple[type, ...]]]] = dict(
    (
        _shapes(HELLO, list, str),
        _shapes(PART, int, int),
        _shapes(PARTED),
        _shapes(STAY),
        _shapes(TEMPLATE, int, bytes, str, int, bool),
        _shapes(TASK, bytes, int, bytes, (list, _NONE)),
        _shapes(RESULT, bytes, int, list, int),
        _shapes(HANDBACK, list),
        _shapes(GET, bytes),
        _shapes(VALUE, bytes, int, (bytes, list, _NONE)),
        _shapes(BORROW, bytes, int),
        _shapes(BORROW_ACK, bytes, int, bool),
        _shapes(RELEASE, bytes),
        _shapes(CONFIRM, bytes),
        _shapes(LEASED, bytes, dict, dict),
        _shapes(COPY, bytes, bytes, str),
        _shapes(UNREADABLE, bytes, bytes),
        _shapes(RELOCATED, bytes, int, (bytes, list, _NONE)),
        _shapes(DISCARD, list),
        _shapes(DISCARDED, list),
        _shapes(REGISTER, int, (bytes, _NONE), dict),
        _shapes(LEAVE, int),
        _shapes(LEFT, int),
        _shapes(WELCOME, bytes, str, str, int, int, str),
        _shapes(LEASE_REQUEST, int, dict, bytes, bool, str, bool),
        _shapes(LEASE_TASK, bytes, str, bool),
        _shapes(LEASE_CANCEL, int),
        _shapes(LEASE_GRANTED, int, bytes, list, dict),
        _shapes(LEASE_SPILLED, int, str),
        _shapes(LEASE_FAILED, int, str),
        _shapes(LEASE_RETURN, bytes),
        _shapes(LEASE_RECLAIM, bytes, bool),
        _shapes(LEASE_LOST, bytes, str, (dict, _NONE)),
        _shapes(BLOCKED),
        _shapes(UNBLOCKED),
        _shapes(ASSIGN, bytes, dict, dict),
        _shapes(CREATE_ACTOR, bytes, bytes, str, bytes, bytes, (list, _NONE), int, bytes),
        _shapes(ACTOR_CREATED, bytes, (bytes, _NONE)),
        _shapes(EXIT, bool),
        _shapes(CREATE, int, bytes, int),
        _shapes(CREATED, int, int, str, str),
        _shapes(SEAL, bytes),
        _shapes(ABORT, bytes),
        _shapes(PIN, int, bytes, int, list, int),
        _shapes(PINNED, int, int, int, int, str),
        _shapes(UNPIN, bytes),
        _shapes(FREE, list),
        _shapes(LOG, int, str, str, str),
        _shapes(WARNING, str),
        _shapes(REPORT, int, int),
        _shapes(REFERENCES, int, list, int),
        _shapes(NODE_DIED, bytes),
        _shapes(RELIEVE, int),
        _shapes(CANCEL, int),
        _shapes(PROMOTE, int, bytes),
        _shapes(PROMOTED, int, bool),
        _shapes(JOB, bytes, dict),
        _shapes(JOB_ACCEPTED, bytes),
        _shapes(SUBSCRIBE_ACTOR, bytes),
        _shapes(ACTOR_STATE, bytes, str, (list, _NONE), (bytes, _NONE)),
        _shapes(ACTOR_RELEASED, bytes),
        _shapes(REGISTER_NODE, bytes, str, dict),
        _shapes(NODE_ACCEPTED, bytes),
        _shapes(RESOURCES, dict, list),
        _shapes(VIEW, list),
        _shapes(PLACE_ACTOR, bytes, bytes, dict, dict, dict, list),
        _shapes(ACTOR_PLACED, bytes, (list, _NONE), int, (bytes, _NONE)),
        _shapes(STOP_ACTOR, bytes, bool),
        _shapes(PROCESS_DIED, bytes, str),
        _shapes(JOB_ENDED, bytes),
        _shapes(ACTOR_DIED, bytes, str, (dict, _NONE)),
        _shapes(OWNER_HELD, bytes, bytes),
        _shapes(PULL, int, bytes, int),
        _shapes(PULL_GRANTED, int, str, int, int, list),
        _shapes(PULL_REDIRECTED, int, bytes, str),
        _shapes(PULL_FAILED, int, str),
        _shapes(PULL_DONE, int, bytes, bool),
        _shapes(DROP, int, list, bool),
        _shapes(DROPPED, int),
        _shapes(COPY_EVICTED, list),
    )
)
