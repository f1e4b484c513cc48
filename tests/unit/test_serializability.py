"""What cannot be pickled: serializers of the user's own, and errors that name the culprit."""

from __future__ import annotations

import dataclasses
import io
import threading
from typing import Any

import pytest

from asyncray import serialization
from asyncray.errors import SerializationError
from asyncray.serialization import deserialize, dumps, serialize


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class WithSlots:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_a_registered_serializer_is_used_until_it_is_deregistered() -> None:
    held = WithSlots()
    serialization.register_serializer(WithSlots, serializer=lambda value: "lock", deserializer=lambda text: text * 2)
    try:
        assert deserialize(serialize([held]).to_bytes()) == ["locklock"]
        assert serialize(held).size > 0
    finally:
        serialization.deregister_serializer(WithSlots)
    with pytest.raises(SerializationError):
        serialize(held)
    serialization.deregister_serializer(WithSlots)


def test_a_serializer_for_what_pickle_handles_itself_is_refused() -> None:
    with pytest.raises(TypeError, match="subclass"):
        serialization.register_serializer(list, serializer=tuple, deserializer=list)


def make_culprits() -> list[tuple[Any, str]]:
    lock = threading.Lock()
    holder = Point(1, None)
    holder.y = {"deep": [1, lock]}

    class Local:
        held = lock

    def inner() -> Any:
        return lock

    def outer() -> Any:
        return inner()

    def default(x: Any = lock) -> Any:
        return x

    return [
        (lock, "_thread.lock"),
        ([1, (2, lock)], "item 1 -> item 1 -> _thread.lock"),
        (holder, "attribute 'y' of .*Point -> item 'deep' -> item 1 -> _thread.lock"),
        (
            outer,
            "closure variable 'inner' of function outer -> closure variable 'lock' of function inner -> _thread.lo",
        ),
        (default, "default of parameter 'x' of function default -> _thread.lock"),
        (Local, "attribute 'held' of class .*Local -> _thread.lock"),
        (Local(), "class .*Local -> attribute 'held' of class .*Local -> _thread.lock"),
        (WithSlots(), "attribute 'lock' of .*WithSlots -> _thread.lock"),
        ({lock}, "member .* -> _thread.lock"),
    ]


@pytest.mark.parametrize(("value", "path"), make_culprits(), ids=lambda item: item[:40] if type(item) is str else "")
def test_the_error_names_the_culprit_and_the_path_to_it(value: Any, path: str) -> None:
    for function in (dumps, serialize, serialization.dumps_function):
        with pytest.raises(SerializationError, match=f"{path}.*cannot pickle"):
            function(value)


def test_inspection_prints_the_path_and_returns_the_culprits() -> None:
    lock = threading.Lock()
    out = io.StringIO()
    fine, failures = serialization.inspect_serializability({"a": [lock], "b": 1}, name="state", print_file=out)
    assert not fine
    assert [failure.obj for failure in failures] == [lock]
    assert failures[0].parent == [lock]
    assert "state cannot be serialized:\n  item 'a' -> item 0 -> _thread.lock" in out.getvalue()


def test_inspection_of_what_is_fine_says_so() -> None:
    out = io.StringIO()
    assert serialization.inspect_serializability([1, 2], print_file=out) == (True, [])
    assert out.getvalue() == "list can be serialized.\n"


def test_inspection_ends_for_values_that_contain_themselves() -> None:
    loop: list[Any] = [threading.Lock()]
    loop.append(loop)
    fine, failures = serialization.inspect_serializability(loop, print_file=io.StringIO())
    assert not fine
    assert len(failures) == 1
