"""Messages as lines of a transcript: their kinds, and of their fields what a reader wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from asyncray import messages
from asyncray.ids import object_of, return_id
from asyncray.resources import UNITS
from asyncray.simulation.scenario.names import Names

Show = Callable[[Names, Any], str]


def _names() -> dict[int, str]:
    """The kinds come first in `messages.py`; below are states and statuses, which are small numbers as well."""
    names: dict[int, str] = {}
    for name, value in vars(messages).items():
        if name.isupper() and type(value) is int and value in messages.SHAPES:
            names.setdefault(value, name)
    return names


_NAMES: Final = _names()
KINDS: Final = {name: number for number, name in _NAMES.items()}
"""Numbers by name."""
_STATES: Final = {messages.INLINE: "", messages.STORED: "stored", messages.ERROR: "an error", messages.GONE: "gone"}


def text_of(names: Names, message: list[Any]) -> str:
    """`LEASE_GRANTED 1 lease 1 worker 1.2`."""
    kind, *fields = message
    special = _SPECIAL.get(kind)
    if special is not None:
        parts = [special(names, fields)]
    else:
        shown = _FIELDS.get(kind, ())
        parts = [show(names, field) for show, field in zip(shown, fields, strict=False) if show is not None]
    return " ".join((_NAMES[kind], *filter(None, parts)))


def amounts(resources: dict[str, int]) -> str:
    """`CPU=1 gadget=0.5`, but for memory of the store, which nobody asks for."""
    shown = ((name, units / UNITS) for name, units in sorted(resources.items()) if name != "object_store_memory")
    return " ".join(f"{name}={amount:g}" for name, amount in shown) or "nothing"


def size(count: int) -> str:
    """Bytes."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def _text(names: Names, text: Any) -> str:
    return names.in_text(str(text))


def _number(names: Names, number: int) -> str:
    return f"{number}:"


def _cause(names: Names, text: Any) -> str:
    return f"({names.in_text(str(text))})"


def _instances(names: Names, instances: dict[str, list[int]]) -> str:
    return " ".join(f"{name}={','.join(map(str, which))}" for name, which in sorted(instances.items()))


def _amounts(names: Names, resources: dict[str, int]) -> str:
    return amounts(resources)


def _stored(names: Names, key: bytes) -> str:
    return names.object(object_of(key))


def _all_stored(names: Names, keys: list[bytes]) -> str:
    return ", ".join(_stored(names, key) for key in keys)


def _objects(names: Names, ids: list[bytes]) -> str:
    return ", ".join(map(names.object, ids))


def _at(names: Names, node_id: bytes) -> str:
    return f"at {names.process(node_id)}"


def _tasks(names: Names, ids: list[bytes]) -> str:
    return ", ".join(map(names.task, ids))


def _if(text: str) -> Show:
    return lambda names, flag: text if flag else ""


def _unless(text: str) -> Show:
    return lambda names, flag: "" if flag else text


def _on(names: Names, address: list[Any] | None) -> str:
    return f"on {names.address(address)}" if address is not None else ""


def _free(names: Names, resources: dict[str, int]) -> str:
    return f"{amounts(resources)} free" if resources else ""


def _bytes(names: Names, count: int) -> str:
    return size(count) if count >= 0 else "not there"


def _copy(names: Names, copy: int) -> str:
    return f"copy {copy}" if copy else ""


_FIELDS: Final[dict[int, tuple[Show | None, ...]]] = {
    messages.TEMPLATE: (None, None, _text),
    messages.HANDBACK: (_tasks,),
    messages.GET: (Names.object,),
    messages.BORROW: (Names.object,),
    messages.BORROW_ACK: (Names.object, None, _unless("which is gone")),
    messages.RELEASE: (Names.object,),
    messages.CONFIRM: (Names.task,),
    messages.LEASED: (None, None, _instances),
    messages.COPY: (Names.object, _at),
    messages.UNREADABLE: (Names.object, _at),
    messages.DISCARD: (_objects,),
    messages.DISCARDED: (_objects,),
    messages.LOG: (None, _text, None, _text),
    messages.LEASE_REQUEST: (_number, _amounts, None, _if("(spilled)")),
    messages.LEASE_TASK: (Names.lease, lambda names, task: f"runs {task}", _unless("which cannot be repeated")),
    messages.LEASE_CANCEL: (_text,),
    messages.LEASE_GRANTED: (_number, Names.lease, _on, _instances),
    messages.LEASE_SPILLED: (_number, lambda names, address: f"to {names.node_at(address)}"),
    messages.LEASE_FAILED: (_number, _text),
    messages.LEASE_RETURN: (Names.lease,),
    messages.LEASE_RECLAIM: (Names.lease, _if("once it has done what it was sent")),
    messages.LEASE_LOST: (Names.lease, _cause),
    messages.ASSIGN: (Names.job,),
    messages.CREATE_ACTOR: (Names.actor,),
    messages.ACTOR_CREATED: (Names.actor, _if("failed")),
    messages.EXIT: (_unless("at once"),),
    messages.CREATE: (None, _stored, _bytes),
    messages.CREATED: (None, lambda names, offset: "refused" if offset < 0 else ""),
    messages.SEAL: (_stored,),
    messages.ABORT: (_stored,),
    messages.PIN: (None, _stored),
    messages.PINNED: (None, None, _bytes, _copy),
    messages.UNPIN: (_stored,),
    messages.FREE: (_all_stored,),
    messages.WARNING: (_text,),
    messages.NODE_DIED: (Names.process,),
    messages.CANCEL: (_text,),
    messages.PROMOTE: (None, _stored),
    messages.PROMOTED: (None, _unless("not there")),
    messages.SUBSCRIBE_ACTOR: (Names.actor,),
    messages.ACTOR_STATE: (Names.actor, _text, _on),
    messages.ACTOR_RELEASED: (Names.actor,),
    messages.RESOURCES: (_free, lambda names, shapes: f"{len(shapes)} wait" if shapes else ""),
    messages.PLACE_ACTOR: (Names.actor,),
    messages.ACTOR_PLACED: (Names.actor, _on, None, _if("failed")),
    messages.STOP_ACTOR: (Names.actor, _unless("at once")),
    messages.PROCESS_DIED: (Names.process, _cause),
    messages.JOB_ENDED: (Names.job,),
    messages.ACTOR_DIED: (Names.actor, _cause),
    messages.OWNER_HELD: (Names.process,),
    messages.PULL: (_number, _stored, lambda names, count: f"(redirected {count} times)" if count else ""),
    messages.PULL_GRANTED: (_number, None, _bytes, _copy),
    messages.PULL_REDIRECTED: (_number, lambda names, node_id: f"to {names.process(node_id)}"),
    messages.PULL_FAILED: (_number, _cause),
    messages.PULL_DONE: (_number, _stored, _unless("not complete")),
    messages.DROP: (_number, _all_stored, _unless("as an orphan")),
    messages.DROPPED: (_number,),
    messages.COPY_EVICTED: (_all_stored,),
}
"""How to show the fields of each kind, in their order; None for what a reader can do without."""


def _task(names: Names, fields: list[Any]) -> str:
    """What it takes beside plain values: those that travel with it have their values already."""
    task_id, _, _, references = fields
    taken = ", ".join(names.object(entry[1]) for entry in references or ())
    return names.task(task_id) + (f" (takes {taken})" if taken else "")


def _result(names: Names, fields: list[Any]) -> str:
    task_id, status, returns, _ = fields
    text = names.task(task_id)
    if status == messages.FAILED:
        return f"{text} failed"
    for index, slot in enumerate(returns):
        if type(slot) is not bytes:
            state, _, contained = slot
            inner = ", ".join(names.object(id) for id, _ in contained or ())
            name = "" if len(returns) == 1 else f" {names.object(return_id(task_id, index))}"
            text += "".join((name, f" {_STATES[state]}" if _STATES[state] else "", f" with {inner}" if inner else ""))
    return text


def _value(names: Names, fields: list[Any]) -> str:
    object_id, state, _ = fields
    return " ".join(filter(None, (names.object(object_id), _STATES[state])))


def _view(names: Names, fields: list[Any]) -> str:
    return ", ".join(
        f"{names.process(node_id)} {f'has {amounts(available)} free' if alive else 'is dead'}"
        for node_id, available, alive in map(_of_view, fields[0])
    )


def _of_view(entry: list[Any]) -> tuple[bytes, dict[str, int], bool]:
    if len(entry) == 2:
        return entry[0], entry[1], True
    node_id, _, _, available, _, alive = entry
    return node_id, available, alive


_SPECIAL: Final[dict[int, Callable[[Names, list[Any]], str]]] = {
    messages.TASK: _task,
    messages.RESULT: _result,
    messages.VALUE: _value,
    messages.RELOCATED: _value,
    messages.VIEW: _view,
}
"""Those whose fields depend on each other."""
