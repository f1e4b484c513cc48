"""What cannot be pickled: serializers of the user's own, and errors that name the culprit."""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from asyncray import serialization, util
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


class Key:
    def __init__(self, held: Any) -> None:
        self.held = held


class WithState:
    """Its lock is not what it hands to pickle under that name."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __getstate__(self) -> dict[str, Any]:
        return {"handed over": [self.lock][0]}


CLOSED_SOCKET = socket.socket()
CLOSED_SOCKET.close()


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

    class Derived(Local):
        pass

    generator = (n for n in (1, 2))

    def numbers() -> Iterator[int]:
        if False:
            yield unassigned
        yield from generator

    nested = eval("lambda: [A_LOCK for _ in 'ab']", {"A_LOCK": lock, "__name__": "__main__"})
    nested.__name__ = "nested"
    holder_of_generator = [generator]
    holder_of_socket = Point(1, CLOSED_SOCKET)
    if lock is None:
        unassigned = 1

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
        (collections.OrderedDict(a=1, b=lock), "item 'b' -> _thread.lock"),
        (collections.defaultdict(list, a=[lock]), "item 'a' -> item 0 -> _thread.lock"),
        (collections.deque([1, lock]), "item 1 -> _thread.lock"),
        ({Key(lock): 1}, "key .* -> attribute 'held' of .*Key -> _thread.lock"),
        (functools.partial(default, 1), "functools.partial -> .* 'x' of function default -> _thread.lock"),
        (lock.acquire, "argument 0 of builtin_function_or_method -> _thread.lock"),
        (ValueError("held", lock), "argument 1 of ValueError -> _thread.lock"),
        (ExceptionGroup("several", [ValueError(lock)]), "item 0 -> argument 0 of ValueError -> _thread.lock"),
        (Derived, "base .*Local of class .*Derived -> attribute 'held' of class .*Local -> _thread.lock"),
        (nested, "global variable 'A_LOCK' of function nested -> _thread.lock"),
        (WithState(lock), "attribute 'handed over' of .*WithState -> _thread.lock"),
        (holder_of_generator, "item 0 -> generator"),
        (holder_of_socket, "attribute 'y' of .*Point -> socket.socket"),
        (numbers, "closure variable 'generator' of function numbers -> generator"),
        ([*range(20_000), lock], "item 20000 -> _thread.lock"),
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
    (failure,) = failures
    assert (failure.obj, failure.name, failure.parent) == (lock, "item 0", [lock])
    assert "state cannot be serialized:\n  item 'a' -> item 0 -> _thread.lock" in out.getvalue()


def test_inspection_of_what_is_fine_says_so() -> None:
    out = io.StringIO()
    assert serialization.inspect_serializability([1, 2], print_file=out) == (True, set())
    assert out.getvalue() == "list can be serialized.\n"


def test_inspection_ends_for_values_that_contain_themselves() -> None:
    loop: list[Any] = [threading.Lock()]
    loop.append(loop)
    around = Point(loop, None)
    around.y = around
    fine, failures = serialization.inspect_serializability(around, print_file=io.StringIO())
    assert not fine
    assert [failure.path for failure in failures] == [("attribute 'x' of " + type_of(Point), "item 0")]


def test_inspection_goes_no_deeper_than_it_is_told() -> None:
    deep = [[[[threading.Lock()]]]]
    _, failures = serialization.inspect_serializability(deep, depth=2, print_file=io.StringIO())
    assert [len(failure.path) for failure in failures] == [2]


def test_all_culprits_are_found() -> None:
    lock, generator = threading.Lock(), itertools.tee([1])[0]
    value = {"a": [lock], "b": (n for n in "ab"), "c": {"d": threading.local()}, "fine": generator}
    _, failures = serialization.inspect_serializability(value, print_file=io.StringIO())
    assert {failure.path for failure in failures} == {("item 'a'", "item 0"), ("item 'b'",), ("item 'c'", "item 'd'")}


def test_what_a_value_refuses_with_is_the_reason() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            raise ValueError("not today")

    out = io.StringIO()
    assert not serialization.inspect_serializability([Refuses()], print_file=out)[0]
    assert "item 0 -> " in out.getvalue() and "(ValueError: not today)" in out.getvalue()


def test_a_value_whose_repr_fails_is_named_all_the_same() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise ValueError

    out = io.StringIO()
    assert not serialization.inspect_serializability({Silent(): threading.Lock()}, print_file=out)[0]
    assert "item <Silent instance" in out.getvalue()


def test_the_public_names_are_those_of_asyncray_util(capsys: pytest.CaptureFixture[str]) -> None:
    assert util.register_serializer is serialization.register_serializer
    assert util.deregister_serializer is serialization.deregister_serializer
    assert util.inspect_serializability(threading.Lock(), name="door")[0] is False
    assert "door cannot be serialized:\n  _thread.lock (TypeError: cannot pickle" in capsys.readouterr().out


def type_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_a_registered_serializer_may_fail_and_is_named() -> None:
    def refuse(held: WithSlots) -> Any:
        raise RuntimeError("held by another")

    serialization.register_serializer(WithSlots, serializer=refuse, deserializer=str)
    try:
        with pytest.raises(SerializationError, match=r"item 0 -> .*WithSlots \(RuntimeError: held by another\)"):
            serialize([WithSlots()])
    finally:
        serialization.deregister_serializer(WithSlots)


def test_a_registered_serializer_applies_at_any_depth_and_may_hold_references_and_buffers() -> None:
    big = bytes(100_000)
    serialization.register_serializer(
        WithSlots, serializer=lambda held: {"data": bytearray(big), "more": [1]}, deserializer=lambda parts: parts
    )
    try:
        value = deserialize(serialize({"a": [(1, {2: WithSlots()})]}).to_bytes())
    finally:
        serialization.deregister_serializer(WithSlots)
    assert value == {"a": [(1, {2: {"data": big, "more": [1]}})]}


def test_a_registered_serializer_comes_before_those_for_libraries() -> None:
    numpy = pytest.importorskip("numpy")
    serialize(numpy.zeros(1))
    serialization.register_serializer(numpy.ndarray, serializer=lambda array: array.tolist(), deserializer=tuple)
    try:
        assert deserialize(serialize([numpy.arange(3)]).to_bytes()) == [(0, 1, 2)]
    finally:
        serialization.deregister_serializer(numpy.ndarray)
    assert type(deserialize(serialize(numpy.arange(3)).to_bytes())) is numpy.ndarray
