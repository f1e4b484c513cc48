"""Values to bytes and back: what arrives, what is shared instead of copied, and what the errors say."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import dataclasses
import enum
import gc
import mmap
import pickle
import threading
import weakref
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray import serialization
from asyncray.errors import ProtocolError, SerializationError, TaskError, capture
from asyncray.serialization import Serialized, deserialize, dumps, layout, serialize

OWNER = [b"p" * 16, b"n" * 16, "/tmp/socket", "127.0.0.1:1"]

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=20) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


class Reference:
    """As the runtime's `ObjectRef` does it."""

    def __init__(self, object_id: bytes, owner: list[Any] = OWNER) -> None:
        self.object_id = object_id
        self.owner = owner

    def __reduce__(self) -> Any:
        return serialization.capture_reference(self, self.object_id, self.owner)


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Color(enum.Enum):
    RED = 1


class Token:
    """Something alive as long as a view of the memory that it stands for."""


class FailsToLoad:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def same(value: Any) -> Any:
    return deserialize(serialize(value).to_bytes())


def in_shared_memory(value: Any) -> memoryview:
    """The value in writable memory, as in the arena."""
    serialized = serialize(value)
    block = memoryview(mmap.mmap(-1, serialized.size + 100))
    serialized.write_into(block)
    return block[: serialized.size]


def defined_in_main(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


# -------------------------------------------------------------------------- values


@given(values)
def test_plain_values_come_back_equal_from_bytes_and_from_blocks(value: Any) -> None:
    assert deserialize(dumps(value)) == value
    assert deserialize(in_shared_memory(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        Point(1, [2]),
        Color.RED,
        {1, 2},
        frozenset("ab"),
        1j,
        range(3),
        bytearray(b"abc"),
        collections.OrderedDict(a=1),
        collections.deque([1]),
        ValueError,
        dumps,
        memoryview(b"abc"),
        ((1, Point(1, 2)), {"key": Point(3, 4)}),
        [{"a": {"b": (1, Point(1, 2))}}],
        list(range(100_000)),
        b"x" * 1_000_000,
        bytearray(b"x" * 1_000_000),
        "é" * 1_000_000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_come_back_equal(value: Any) -> None:
    for copy in (deserialize(dumps(value)), same(value), deserialize(in_shared_memory(value))):
        assert copy == value
        assert type(copy) is type(value)


@pytest.mark.parametrize("size", [0, 10, 10_000, 3_000_000])
@pytest.mark.parametrize("dtype", ["u1", "f8", "c16", "S7", "M8[s]"])
def test_numpy_arrays_come_back_equal(size: int, dtype: str) -> None:
    array = numpy.arange(size).astype("u1").astype("i8").astype(dtype)
    for copy in (same(array), deserialize(in_shared_memory(array))):
        numpy.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype


def test_numpy_arrays_of_any_layout_come_back_equal() -> None:
    grid = numpy.arange(100_000.0).reshape(100, 1000)
    for array in (grid.T, grid[::2, ::3], numpy.asfortranarray(grid), numpy.array([1, "a", None], dtype=object)):
        numpy.testing.assert_array_equal(same(array), array)


def test_one_array_in_two_places_is_written_once_and_stays_one() -> None:
    array = numpy.zeros(100_000)
    serialized = serialize({"a": array, "b": [array]})
    assert serialized.size < 1_000_000
    copy = deserialize(serialized.to_bytes())
    assert copy["a"] is copy["b"][0]


def test_memory_views_keep_format_and_shape() -> None:
    view = memoryview(bytes(range(240))).cast("d", (5, 6))
    fortran = memoryview(numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)))
    large = memoryview(bytes(1_000_000)).cast("I")
    for original in (view, view[::2], fortran, large):
        copy = same(original)
        assert isinstance(copy, memoryview)
        assert (copy.format, copy.shape, copy.tolist()) == (original.format, original.shape, original.tolist())
    assert same(memoryview(b"")) == b""
    assert same(memoryview(numpy.zeros(2, "i4, f8"))) == bytes(24)


def test_classes_and_functions_of_main_travel_by_value() -> None:
    main = defined_in_main("class Mine:\n    n = 3\ndef f(x): return x + helper()\ndef helper(): return 1")
    assert same(main["f"])(1) == 2
    mine = main["Mine"]()
    for value in (mine, main["Mine"], [mine], ((mine,), {}), ((), {"key": mine}), {"key": mine}, [(1, [mine])]):
        # Its attributes are there: in another process, `__main__` is another module.
        assert b"_make_skeleton_class" in dumps(value)


def test_a_lambda_and_a_local_class_travel() -> None:
    factor = 3

    class Local:
        def triple(self, x: int) -> int:
            return factor * x

    assert same(lambda x: factor * x)(2) == 6
    assert same(Local)().triple(2) == 6
    assert same(Local()).triple(2) == 6


def test_values_that_contain_themselves_come_back_so() -> None:
    array = numpy.arange(100_000)
    around: dict[str, Any] = {"array": array, "list": [], "point": Point(1, None)}
    around["list"].append(around)
    around["point"].y = around["point"]
    for copy in (same(around), deserialize(in_shared_memory(around))):
        assert copy["list"][0] is copy
        assert copy["point"].y is copy["point"]
        assert copy["array"].sum() == array.sum()


def test_functions_and_classes_that_refer_to_themselves_travel() -> None:
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    class Node:
        def __init__(self, below: list[Node]) -> None:
            self.below = below

        def depth(self) -> int:
            return 1 + max([node.depth() for node in self.below if isinstance(node, Node)], default=0)

    assert same(factorial)(5) == 120
    assert same(Node([Node([]), Node([Node([])])])).depth() == 3
    assert same([lambda: [lambda: array.sum()]])[0]()[0]() == array.sum()


array = numpy.ones(100_000)


def test_dataclasses_of_every_kind_travel() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        data: Any
        inner: Any = dataclasses.field(default_factory=list)

    value = Frozen(array, [Frozen(1), Point(array, 2)])
    copy = same(value)
    assert (copy.inner[0].data, copy.inner[1].y) == (1, 2)
    assert copy.data is copy.inner[1].x
    assert not copy.data.flags.writeable


def test_a_type_registered_with_copyreg_later_is_pickled_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(same(Token())) is Token
    monkeypatch.setitem(copyreg.dispatch_table, Token, lambda token: "asyncray")  # a string names a global
    with pytest.raises(SerializationError):
        serialize(Token())
    monkeypatch.setitem(copyreg.dispatch_table, Token, lambda token: (int, (7,)))
    assert same(Token()) == 7


def test_functions_are_pickled_for_the_function_table() -> None:
    factor = 3
    data = serialization.dumps_function(lambda x: factor * x)
    assert serialization.loads_function(data)(2) == 6
    assert serialization.loads_function(serialization.dumps_function(dumps)) is dumps
    array = numpy.arange(100_000)
    data = serialization.dumps_function(lambda: array)
    assert serialization.loads_function(data)().sum() == array.sum()


# -------------------------------------------------------------------------- layout


def test_buffers_are_aligned_to_64_bytes_from_the_start_of_the_value() -> None:
    arrays = [numpy.full(20_001 + n, 200 + n, "u1") for n in range(5)]
    data = serialize([*arrays, "in band"]).to_bytes()
    assert data[0] == layout.PARTS
    for n, array in enumerate(arrays):
        assert data.index(array.tobytes()) % layout.ALIGNMENT == 0, n


def test_size_is_what_is_written_both_ways() -> None:
    for value in (1, "text", [numpy.zeros(n) for n in (0, 1, 5_000, 300_000)], [Reference(b"1" * 20)], b"x" * 100_000):
        serialized = serialize(value)
        data = serialized.to_bytes()
        block = memoryview(bytearray(serialized.size))
        serialized.write_into(block)
        assert len(data) == serialized.size
        assert bytes(block) == data


def test_a_block_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        serialize(numpy.zeros(10_000)).write_into(memoryview(bytearray(1_000)))


def test_bytes_that_are_a_value_already_can_be_written_like_one() -> None:
    data = dumps([1, 2])
    assert Serialized.of_bytes(data).to_bytes() is data
    assert Serialized.of_bytes(data).size == len(data)


@pytest.mark.parametrize("cut", [1, 5, 8, 9, 15, 100, 160_000])
def test_truncated_values_are_refused(cut: int) -> None:
    data = serialize(numpy.zeros(20_000)).to_bytes()
    with pytest.raises(ProtocolError):
        deserialize(data[:cut])


@given(st.binary(max_size=60).map(lambda tail: b"\1" + tail) | st.binary(max_size=8))
def test_arbitrary_bytes_raise_an_error_of_asyncray_or_are_a_value(data: bytes) -> None:
    with contextlib.suppress(ProtocolError, SerializationError):
        deserialize(data)


def test_what_cannot_be_rebuilt_here_raises_with_the_reason() -> None:
    with pytest.raises(SerializationError, match="ValueError: invalid literal") as raised:
        deserialize(dumps(FailsToLoad()))
    assert isinstance(raised.value.__cause__, ValueError)
    with pytest.raises(SerializationError, match="ValueError: invalid literal"):
        deserialize(dumps([FailsToLoad(), numpy.zeros(10_000)]))


# ----------------------------------------------------------------------- zero copy


def test_large_arrays_are_read_only_views_of_the_bytes_given() -> None:
    block = in_shared_memory(numpy.zeros(100_000))
    array = deserialize(block)
    assert not array.flags.writeable
    with pytest.raises(ValueError):
        array.flags.writeable = True
    block[-8:] = numpy.float64(7).tobytes()
    assert array[-1] == 7


def test_small_arrays_are_fresh_copies_that_can_be_written() -> None:
    array = same(numpy.zeros(10))
    array[0] = 1


def test_the_memory_is_kept_until_the_last_view_is_gone() -> None:
    token = Token()
    alive = weakref.ref(token)
    value = deserialize(in_shared_memory([numpy.ones(100_000), numpy.ones(100_000)]), keepalive=token)
    del token
    part = value[1][5:10]
    del value
    gc.collect()
    assert alive() is not None
    assert part.sum() == 5
    view = memoryview(part)
    del part
    gc.collect()
    assert alive() is not None
    del view
    assert alive() is None


def test_the_memory_is_let_go_at_once_when_nothing_is_a_view_of_it() -> None:
    token = Token()
    alive = weakref.ref(token)
    value = deserialize(in_shared_memory([1, "text", numpy.zeros(10)]), keepalive=token)
    del token
    assert alive() is None
    assert value[:2] == [1, "text"]


def test_views_may_outlive_their_reader_in_another_thread() -> None:
    token = Token()
    alive = weakref.ref(token)
    held = [deserialize(in_shared_memory(numpy.ones(100_000)), keepalive=token)]
    del token
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert alive() is None


# ---------------------------------------------------------------------- references


def test_references_are_collected_and_restored_with_their_owner() -> None:
    references = [Reference(bytes([n]) * 20) for n in range(3)]
    serialized = serialize({"refs": references, "array": numpy.zeros(10_000)})
    assert serialized.references == references
    value = deserialize(serialized.to_bytes(), restore=lambda object_id, owner: (object_id, owner))
    assert [object_id for object_id, _ in value["refs"]] == [reference.object_id for reference in references]
    assert all(owner == OWNER for _, owner in value["refs"])


def test_references_are_found_at_any_depth() -> None:
    closed_over, held, deep = (Reference(bytes([n]) * 20) for n in (1, 2, 3))
    nested: Any = deep
    for n in range(50):
        nested = [(n, {"inner": nested})]
    error = ValueError("with a reference", held)
    value = {"function": lambda: closed_over, "point": Point(held, error), "nested": nested, "array": array}
    serialized = serialize(value)
    assert set(serialized.references) == {closed_over, held, deep}
    copy = deserialize(serialized.to_bytes(), restore=lambda object_id, owner: object_id)
    assert copy["function"]() == closed_over.object_id
    assert copy["point"].x == copy["point"].y.args[1] == held.object_id
    found = copy["nested"]
    for _ in range(50):
        found = found[0][1]["inner"]
    assert found == deep.object_id


def test_the_owner_of_many_references_is_pickled_once() -> None:
    data = serialize([Reference(n.to_bytes(20, "big")) for n in range(10_000)]).to_bytes()
    assert data.count(b"/tmp/socket") == 1
    assert len(data) < 10_000 * 35


def test_serialisations_can_be_nested_and_keep_their_references_apart() -> None:
    inner: list[Any] = []

    class PutsInside:
        def __reduce__(self) -> Any:
            inner.extend(serialize([Reference(b"i" * 20)]).references)
            return int, (1,)

    serialized = serialize([Reference(b"a" * 20), PutsInside(), Reference(b"b" * 20)])
    assert [reference.object_id[:1] for reference in serialized.references] == [b"a", b"b"]
    assert [reference.object_id[:1] for reference in inner] == [b"i"]


def test_a_reference_is_refused_where_nobody_keeps_it_alive() -> None:
    with pytest.raises(SerializationError, match="can only travel in arguments"):
        pickle.dumps(Reference(b"1" * 20))
    with pytest.raises(SerializationError, match="none can be restored"):
        deserialize(serialize(Reference(b"1" * 20)).to_bytes())


def test_the_references_that_a_function_closes_over_are_collected() -> None:
    reference = Reference(b"1" * 20)
    with pytest.raises(SerializationError, match="closure variable 'reference' of function"):
        serialization.dumps_function(lambda: reference)
    references: list[Any] = []
    data = serialization.dumps_function(lambda: reference, references)
    assert references == [reference]
    assert serialization.loads_function(data, lambda object_id, owner: object_id)() == b"1" * 20


# -------------------------------------------------------------------------- errors


def test_an_error_comes_back_as_one() -> None:
    data = serialization.dumps_error(capture(KeyError("key"), "work", 1, "node-a"))
    assert serialization.is_error(data)
    assert not serialization.is_error(dumps(KeyError("key")))
    error = serialization.load_error(data)
    assert isinstance(error, TaskError)
    assert isinstance(error, KeyError)


def test_an_error_that_cannot_be_pickled_is_described() -> None:
    original = RuntimeError("held", threading.Lock())
    error = serialization.load_error(serialization.dumps_error(original))
    assert isinstance(error, RuntimeError)
    assert "held" in str(error)


def test_references_inside_an_error_are_left_out_unless_they_are_asked_for() -> None:
    original = ValueError("boom")
    original.ref = Reference(b"1" * 20)  # type: ignore[attr-defined]
    error = capture(original, "work", 1, "node-a")
    assert not hasattr(serialization.load_error(serialization.dumps_error(error)), "ref")
    references: list[Any] = []
    data = serialization.dumps_error(error, references)
    loaded = serialization.load_error(data, restore=lambda object_id, owner: object_id)
    assert len(references) == 1
    assert loaded.ref == b"1" * 20  # type: ignore[attr-defined]


def test_an_exception_inside_a_value_keeps_its_state_whatever_its_constructor_takes() -> None:
    class NeedsTwo(ValueError):
        def __init__(self, name: str, size: int) -> None:
            super().__init__(f"{name} of {size}")
            self.size = size

    copy = same({"outcome": [NeedsTwo("box", 3)]})["outcome"][0]
    assert str(copy) == "box of 3"
    assert copy.size == 3


def test_bytes_that_are_no_error_give_an_error_all_the_same() -> None:
    assert isinstance(serialization.load_error(dumps(3)), ProtocolError)
    assert isinstance(serialization.load_error(b""), ProtocolError)


def test_a_value_too_deep_to_pickle_is_an_error_not_a_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="cannot be serialized"):
        serialize(deep)
