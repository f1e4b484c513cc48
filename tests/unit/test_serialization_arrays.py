"""NumPy arrays, pandas and Arrow tables, torch tensors: what comes back, and that it is not copied on the way."""

from __future__ import annotations

import errno
import gc
import itertools
import mmap
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.serialization import deserialize, serialize
from asyncray.store.arena import Arena
from asyncray.store.mapping import Mapping

MIB = 1 << 20
LENGTH = 100_000


class Token:
    """Something alive as long as a view of the memory that it stands for."""


def same(value: Any) -> Any:
    return deserialize(serialize(value).to_bytes())


class Shared:
    """A value in shared memory."""

    def __init__(self, value: Any) -> None:
        serialized = serialize(value)
        self.buffers = [buffer.nbytes for buffer in serialized._buffers]
        self.arena = Arena.create(serialized.size + 16 * MIB)
        self.block = self.arena.view(4096, serialized.size)
        serialized.write_into(self.block)
        self.start = numpy.frombuffer(self.block, "u1").ctypes.data
        self.token: Token | None = Token()
        self.alive = weakref.ref(self.token)

    def read(self) -> Any:
        value = deserialize(self.block, keepalive=self.token)
        self.token = None
        return value

    def contains(self, address: int) -> bool:
        return self.start <= address < self.start + len(self.block)


# --------------------------------------------------------------------------- NumPy

DTYPES = ["?", "u1", ">i4", "i8", "f2", "f8", "g", "c16", "U3", "S5", "M8[s]", ">m8[ms]", "i4, f8", "V3", "O"]


def filled(dtype: str, shape: tuple[int, ...]) -> Any:
    count = int(numpy.prod(shape))
    if dtype == "V3":
        return numpy.frombuffer(bytes(3 * count), "V3").reshape(shape)
    if dtype == "i4, f8":
        array = numpy.zeros(shape, dtype)
        array["f0"] = numpy.arange(count).reshape(shape)
        return array
    return (numpy.arange(count) % 100).astype(dtype).reshape(shape)


LAYOUTS = {
    "contiguous": lambda array: array,
    "transposed": lambda array: array.T,
    "strided": lambda array: array[..., ::2],
    "reversed": lambda array: array[::-1],
    "swapped": lambda array: array.swapaxes(0, -1),
    "empty": lambda array: array[:0],
    "broadcast": lambda array: numpy.broadcast_to(array, (2, *array.shape)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4), (40, 50, 60)], ids=str)
def test_arrays_of_any_type_shape_and_layout_come_back_equal(dtype: str, shape: tuple[int, ...], layout: str) -> None:
    array = filled(dtype, shape)
    if shape:  # a scalar has one layout
        array = LAYOUTS[layout](array)
    for copy in (same(array), Shared(array).read()):
        numpy.testing.assert_array_equal(copy, array)
        assert (copy.dtype, copy.shape, type(copy)) == (array.dtype, array.shape, type(array))


@given(st.integers(0, 3).flatmap(lambda n: st.tuples(*[st.integers(0, 40)] * n)), st.sampled_from("?ufMmS"), st.data())
def test_any_slice_comes_back_equal(shape: tuple[int, ...], kind: str, data: st.DataObject) -> None:
    dtype = {"u": "u2", "f": "f8", "M": "M8[s]", "m": "m8[D]", "S": "S3"}.get(kind, kind)
    array = filled(dtype, shape)
    array = array.transpose(data.draw(st.permutations(range(len(shape)))))
    array = array[tuple(slice(*data.draw(st.tuples(*[st.none() | st.integers(-9, 40)] * 2))) for _ in shape)]
    copy = same(array)
    numpy.testing.assert_array_equal(copy, array)
    assert copy.dtype == array.dtype


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        *itertools.product(
            ["u1", "f8", "c16", "U3", "S5", "M8[s]", ">m8[ms]"], ["contiguous", "transposed", "strided", "swapped"]
        ),
        ("i4, f8", "contiguous"),
    ],
)
def test_large_arrays_are_read_only_views(dtype: str, layout: str) -> None:
    array = LAYOUTS[layout](filled(dtype, (100, 400)))
    shared = Shared(array)
    copy = shared.read()
    assert shared.contains(copy.ctypes.data)
    assert copy.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        copy[0, 0] = copy[0, 1]
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        copy.flags.writeable = True
    own = copy.copy()
    own[0, 0] = own[0, 1]


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
@pytest.mark.parametrize("dtype", ["u1", "f8", "U3", "M8[s]"])
def test_small_arrays_can_be_written_to(dtype: str, layout: str) -> None:
    array = LAYOUTS[layout](filled(dtype, (3, 4)))
    array.flags.writeable = False
    copy = same(array)
    copy[0, 0] = copy[1, 1]
    assert array[0, 0] != copy[0, 0]


def test_subclasses_of_arrays_stay_what_they_are() -> None:
    masked = numpy.ma.masked_array([1, 2, 3], [0, 1, 0])
    assert same(masked).tolist() == [1, None, 3]
    records = numpy.rec.array([(1, 2.0)], "i4, f8")
    assert type(same(records)) is numpy.recarray


def test_arrays_deep_inside_of_containers_are_buffers() -> None:
    arrays = [numpy.full(LENGTH, n) for n in range(4)]
    shared = Shared({"a": [arrays[0], (1, {"b": arrays[1]})], "c": {3: [[arrays[2]], arrays[3]]}})
    assert shared.buffers == [arrays[0].nbytes] * 4
    value = shared.read()
    found = [value["a"][0], value["a"][1][1]["b"], value["c"][3][0][0], value["c"][3][1]]
    assert [array[-1] for array in found] == [0, 1, 2, 3]
    assert all(shared.contains(array.ctypes.data) for array in found)


# -------------------------------------------------------------------------- pandas


def frame() -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "integers": numpy.arange(LENGTH),
            "floats": numpy.arange(LENGTH, dtype=float),
            "dates": pandas.date_range("2026-01-01", periods=LENGTH, freq="s"),
            "zoned": pandas.date_range("2026-01-01", periods=LENGTH, freq="s", tz="UTC"),
            "text": ["abc", "defgh"] * (LENGTH // 2),
            "category": pandas.Categorical(["a", "b"] * (LENGTH // 2)),
            "nullable": pandas.array([1, None] * (LENGTH // 2), dtype="Int64"),
        }
    )


def test_frames_come_back_equal_with_all_large_columns_shared() -> None:
    original = frame()
    shared = Shared(original)
    pandas.testing.assert_frame_equal(same(original), original)
    copy = shared.read()
    pandas.testing.assert_frame_equal(copy, original)
    inside = len(shared.block) - sum(shared.buffers)
    assert inside < 20_000, "the pickle holds no column"
    for column in ("integers", "floats", "dates"):
        assert shared.contains(copy[column].to_numpy().ctypes.data)
    with pytest.raises(ValueError, match="read-only"):
        copy.loc[0, "integers"] = 5
    own = copy.copy(deep=True)
    own.loc[0, "integers"] = 5
    assert copy.loc[0, "integers"] == 0


def test_the_memory_stays_while_a_column_lives() -> None:
    shared = Shared(frame())
    copy = shared.read()
    column = copy["floats"]
    del copy
    gc.collect()
    assert shared.alive() is not None
    assert column.sum() == LENGTH * (LENGTH - 1) / 2
    del column
    gc.collect()
    assert shared.alive() is None


# --------------------------------------------------------------------------- Arrow


def table() -> pyarrow.Table:
    return pyarrow.table(
        {
            "n": numpy.arange(LENGTH),
            "text": ["abc", None] * (LENGTH // 2),
            "lists": [[1, 2]] * LENGTH,
            "structs": [{"a": 1, "b": "x"}] * LENGTH,
        }
    )


def test_tables_come_back_equal_with_all_buffers_shared() -> None:
    shared = Shared(table())
    assert len(shared.block) - sum(shared.buffers) < 16_000
    copy = shared.read()
    assert copy.equals(table())
    buffers = copy["n"].chunk(0).buffers()
    assert shared.contains(buffers[1].address)
    assert not buffers[1].is_mutable
    with pytest.raises(ValueError, match="read-only"):
        copy["n"].chunk(0).to_numpy()[0] = 1
    del copy, buffers
    gc.collect()
    assert shared.alive() is None


@pytest.mark.parametrize(
    "array",
    [
        pyarrow.array(range(LENGTH)),
        pyarrow.array(["abc"] * LENGTH),
        pyarrow.array(["a", "b"] * LENGTH).dictionary_encode(),
        pyarrow.array([[1, 2]] * LENGTH),
        pyarrow.array([{"a": 1}] * LENGTH),
        pyarrow.array([True, None] * LENGTH * 5),
    ],
    ids=lambda array: str(array.type)[:20],
)
def test_a_slice_travels_without_what_it_was_cut_from(array: pyarrow.Array) -> None:
    part = array[LENGTH // 2 + 3 : LENGTH // 2 + 10]
    assert serialize(part).size < 3_000
    assert same(part).equals(part)
    assert same(pyarrow.chunked_array([part, part])).equals(pyarrow.chunked_array([part, part]))


def test_a_slice_of_a_table_travels_alone() -> None:
    part = table().slice(10, 5)
    assert serialize(part).size < 3_000
    assert same(part).equals(part)
    assert same(part.to_batches()[0]).equals(part.to_batches()[0])


# --------------------------------------------------------------------------- torch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="installed by the extra `torch`")


def test_tensors_of_any_type_and_layout_come_back_equal(torch: Any) -> None:
    grid = torch.arange(24).reshape(2, 3, 4)
    dtypes = (torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float16, torch.float64, torch.complex64)
    layouts = (
        lambda t: t,
        lambda t: t.transpose(0, 2),
        lambda t: t[:, ::2],
        lambda t: t[0, 0, 0],
        lambda t: t[:0],
        lambda t: t.expand(5, 2, 3, 4),
        lambda t: t.repeat(30, 20, 20),
        lambda t: t.repeat(30, 20, 20).permute(2, 0, 1),
        lambda t: t.repeat(30, 20, 20)[:, ::3],
        lambda t: t.repeat(1, 100, 100, 1).to(memory_format=torch.channels_last),
    )
    for dtype, layout in itertools.product(dtypes, layouts):
        tensor = layout(grid.to(dtype))
        for copy in (same(tensor), Shared(tensor).read()):
            assert torch.equal(copy, tensor)
            assert (copy.dtype, type(copy)) == (tensor.dtype, type(tensor))
            if tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last):
                assert copy.stride() == tensor.stride()


def test_what_is_more_than_numbers_in_memory_is_left_to_torch(torch: Any) -> None:
    conjugated = torch.tensor([1j]).conj()
    assert torch.equal(same(conjugated), conjugated)
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(same(sparse).to_dense(), torch.eye(3))
    named = torch.zeros(3)
    named.title = "zeros"
    assert same(named).title == "zeros"
    assert same(torch.zeros(3, device="meta")).device.type == "meta"


def test_gradients_are_asked_for_as_before(torch: Any) -> None:
    assert same(torch.zeros(3, requires_grad=True)).requires_grad
    model = same(torch.nn.Linear(600, 600))
    assert [type(parameter) for parameter in model.parameters()] == [torch.nn.Parameter] * 2
    model(torch.ones(600)).sum().backward()
    with torch.no_grad():
        model.weight -= 1


def test_a_slice_of_a_tensor_travels_alone(torch: Any) -> None:
    assert serialize(torch.zeros(LENGTH)[5:10]).size < 1_000


def test_a_large_tensor_is_shared_until_it_is_written_to(torch: Any) -> None:
    shared = Shared(torch.arange(MIB))
    first, second = shared.read(), deserialize(shared.block)
    assert mapped_from(first.data_ptr()) == mapped_from(shared.start)
    before = private_memory()
    assert first.sum() == second.sum() == MIB * (MIB - 1) // 2
    assert private_memory() - before < 2 * MIB
    first[5] = -1
    assert (first[5], second[5], deserialize(shared.block)[5]) == (-1, 5, 5)
    assert numpy.frombuffer(shared.block, "u1").tobytes() == Shared(torch.arange(MIB)).block.tobytes()
    part = first[10:20]
    del first
    gc.collect()
    assert shared.alive() is not None
    assert part.tolist() == [*range(10, 20)]
    mapped = part.data_ptr()
    del part
    gc.collect()
    assert shared.alive() is None
    assert mapped_from(mapped) is None


def test_tensors_in_memory_of_another_kind_are_copied(torch: Any) -> None:
    tensor = torch.arange(MIB)
    serialized = serialize([tensor])
    block = memoryview(mmap.mmap(-1, serialized.size))
    serialized.write_into(block)
    (copy,) = deserialize(block, keepalive=Token())
    copy[0] = 7
    assert deserialize(block)[0][0] == 0


def test_a_tensor_that_cannot_be_mapped_is_copied(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, "too many mappings")

    shared = Shared(torch.arange(MIB))
    monkeypatch.setattr(Mapping, "private", refuse)
    copy = shared.read()
    copy[0] = 7
    assert deserialize(shared.block)[0] == 0


# ------------------------------------------------------- libraries as they come


@pytest.mark.parametrize("library", ["numpy", "pyarrow", "torch"])
def test_a_module_that_only_has_the_name_of_a_library_harms_nothing(library: str, tmp_path: Path) -> None:
    (tmp_path / f"{library}.py").write_text("answer = 42")
    program = (
        f"import {library}\n"
        "from asyncray.serialization import deserialize, serialize\n"
        "print(deserialize(serialize([{1, 2}, bytearray(100_000)]).to_bytes())[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("{1, 2}\n", "")


def test_a_library_that_is_imported_later_is_met_then() -> None:
    program = (
        "import sys\n"
        "from asyncray.serialization import registry, serialize\n"
        "serialize({1})\n"
        "assert 'numpy' not in sys.modules\n"
        "import numpy\n"
        "print(len(serialize(numpy.arange(100_000).astype('M8[s]'))._buffers), numpy.ndarray in registry.table)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("1 True\n", "")


def mapped_from(address: int) -> str | None:
    """The inode of the file that lies in memory there."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, _, _, inode, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                return inode
    return None


def private_memory() -> int:
    """Bytes that this process has for itself."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
