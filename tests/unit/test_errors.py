"""Errors of user code: what the caller of a task sees of an exception that was raised in another process."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
import sys
import threading
import traceback
from typing import Any

import cloudpickle
import pytest

from asyncray import errors
from asyncray.errors import ActorDiedError, AsyncrayError, TaskError, capture
from asyncray.portable_exception import OpaqueException


def raised(error: BaseException) -> BaseException:
    """`error` with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def travelled(error: BaseException, task_name: str = "work") -> TaskError:
    """What arrives at the caller when a task raises `error`."""
    arrived = pickle.loads(pickle.dumps(capture(raised(error), task_name, 71, "node-a")))
    assert isinstance(arrived, TaskError)
    return arrived


class NeedsTwo(ValueError):
    def __init__(self, name: str, size: int) -> None:
        super().__init__(f"{name} of {size}")
        self.name = name
        self.size = size


class WithLock(RuntimeError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
        self.code = 7


class LockInArgs(RuntimeError):
    def __init__(self) -> None:
        super().__init__("held", threading.Lock())


class ReduceRaises(KeyError):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickling, please")


class UnpicklingRaises(OSError):
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class HasOurNames(Exception):
    pid = "class attribute"

    def __init__(self) -> None:
        super().__init__("names")
        self.cause = "mine"
        self.task_name = "mine too"

    @property
    def node(self) -> str:
        return "property"


class OwnArgs(Exception):
    """Its `args` are not those of an exception, as with some command line libraries."""

    @property
    def args(self) -> Any:
        return "mine"


class Final(Exception):
    def __init_subclass__(cls, **options: Any) -> None:
        raise TypeError("Final cannot be subclassed")


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_task_error_is_also_an_instance_of_the_users_type() -> None:
    error = travelled(ValueError("boom"))
    assert isinstance(error, ValueError)
    assert isinstance(error, AsyncrayError)
    assert str(error) == "boom"
    assert error.args == ("boom",)
    assert type(error.cause) is ValueError
    assert (error.task_name, error.pid, error.node) == ("work", 71, "node-a")


def test_the_combined_type_is_made_once() -> None:
    assert type(travelled(ValueError("a"))) is type(travelled(ValueError("b")))
    assert type(travelled(ValueError())).__name__ == "TaskError(ValueError)"


def test_the_printed_traceback_shows_the_remote_one_with_task_pid_and_node() -> None:
    def failing_line() -> None:
        raise ValueError("boom")

    try:
        failing_line()
    except ValueError as caught:
        error = pickle.loads(pickle.dumps(capture(caught, "work", 71, "node-a")))
    printed = "".join(traceback.format_exception(raised(error)))
    assert "Task work (pid 71, node node-a) raised:" in printed
    assert "in failing_line" in printed
    assert "The above exception was the direct cause of the following exception" in printed
    assert printed.rstrip().endswith("asyncray.errors.TaskError(ValueError): boom")


@pytest.mark.parametrize(
    "original",
    [
        KeyError("key"),
        OSError(2, "No such file", "/a/path"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SyntaxError("bad", ("file.py", 3, 5, "x = = 1")),
        ImportError("no module", name="name", path="path"),
        AttributeError("no attribute", name="attribute", obj=3),
        json.JSONDecodeError("Expecting value", "{", 1),
        NeedsTwo("box", 3),
        Slotted(4),
        Frozen(5),
        OwnArgs("own"),
        Exception("plain"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_message_args_fields_and_attributes_are_the_originals(original: Exception) -> None:
    error = travelled(original)
    assert isinstance(error, type(original))
    assert str(error) == str(original)
    assert error.args == original.args
    for name in ("errno", "filename", "reason", "start", "lineno", "name", "path", "obj", "doc", "pos", "size", "code"):
        assert getattr(error, name, None) == getattr(original, name, None)
        assert getattr(error.cause, name, None) == getattr(original, name, None)


def test_notes_of_the_original_are_kept() -> None:
    original = ValueError("boom")
    original.add_note("tried twice")
    assert travelled(original).__notes__ == ["tried twice"]


def test_an_exception_group_arrives_as_one_with_its_members() -> None:
    error = travelled(ExceptionGroup("two", [NeedsTwo("box", 3), ExceptionGroup("inner", [WithLock("held")])]))
    assert isinstance(error, ExceptionGroup)
    assert error.message == "two"
    assert isinstance(error.exceptions[0], NeedsTwo)
    matching, rest = error.split(WithLock)
    assert matching is not None
    assert rest is not None
    assert [type(member) for member in rest.exceptions] == [NeedsTwo]


def test_except_star_handles_a_task_error() -> None:
    handled: list[BaseException] = []
    try:
        raise travelled(ExceptionGroup("two", [ValueError("a"), KeyError("b")]))
    except* ValueError as group:
        handled.extend(group.exceptions)
    except* KeyError as group:
        handled.extend(group.exceptions)
    assert [type(error) for error in handled] == [ValueError, KeyError]


def test_an_attribute_that_cannot_be_pickled_is_left_out() -> None:
    error = travelled(WithLock("held"))
    assert isinstance(error, WithLock)
    assert str(error) == "held"
    assert error.code == 7
    assert not hasattr(error, "lock")


def test_an_argument_that_cannot_be_pickled_becomes_its_repr() -> None:
    error = travelled(LockInArgs())
    assert isinstance(error, LockInArgs)
    assert error.args[0] == "held"
    assert "lock" in error.args[1]


def test_a_reduce_that_raises_is_done_without() -> None:
    error = travelled(ReduceRaises("key"))
    assert isinstance(error, ReduceRaises)
    assert str(error) == "'key'"


def test_an_exception_that_cannot_be_unpickled_becomes_a_readable_one_of_its_builtin_base() -> None:
    error = travelled(UnpicklingRaises(5, "disk"))
    assert isinstance(error, OSError)
    assert not isinstance(error, UnpicklingRaises)
    assert isinstance(error.cause, OpaqueException)
    assert "UnpicklingRaises: [Errno 5] disk" in str(error)
    assert "not a number" in error.cause.reason
    assert "UnpicklingRaises" in error.remote_traceback


def test_an_exception_whose_class_cannot_be_pickled_becomes_a_readable_one() -> None:
    lock = threading.Lock()

    class Local(ValueError):
        def __str__(self) -> str:
            return f"local {lock.locked()}"

    error = travelled(Local())
    assert isinstance(error, ValueError)
    assert str(error).endswith("Local: local False")


def test_a_reader_without_the_class_hands_the_error_on_to_one_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(capture(raised(NeedsTwo("box", 3)), "inner", 1, "node-a"))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, __name__, None)  # type: ignore[arg-type]
        middle = pickle.loads(sent)
        assert isinstance(middle, ValueError)
        assert isinstance(middle.cause, OpaqueException)
        sent_on = pickle.dumps(capture(raised(middle), "outer", 2, "node-b"))
    error = pickle.loads(sent_on)
    assert isinstance(error, NeedsTwo)
    assert error.size == 3


def test_an_exception_class_of_main_goes_by_value() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Mine(Exception):\n    def shout(self): return str(self).upper()", namespace)
    error = travelled(namespace["Mine"]("boom"))
    assert isinstance(error, namespace["Mine"])
    assert error.shout() == "BOOM"


def test_attributes_of_the_users_type_hide_those_of_task_error() -> None:
    error = travelled(HasOurNames())
    assert isinstance(error, HasOurNames)
    assert error.cause == "mine"
    assert error.task_name == "mine too"
    assert error.pid == "class attribute"
    assert error.node == "property"
    assert type(errors.failure_of(error).cause) is HasOurNames


@pytest.mark.parametrize(
    "original",
    [KeyboardInterrupt("stop"), SystemExit(3), asyncio.CancelledError(), StopIteration(4), Final("sealed")],
    ids=lambda error: type(error).__name__,
)
def test_types_that_cannot_be_shared_give_a_plain_task_error(original: BaseException) -> None:
    error = travelled(original)
    assert type(error) is TaskError
    assert not isinstance(error, type(original))
    assert type(error.cause) is type(original)
    assert error.cause.args == original.args
    assert str(error) == f"{errors.type_name(type(original))}: {original}"


async def test_a_task_error_can_be_the_exception_of_a_future() -> None:
    for original in (ValueError("boom"), StopIteration(3), KeyError("key")):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(travelled(original))
        with pytest.raises(TaskError):
            await future


def test_an_error_of_nested_tasks_keeps_its_type_and_one_chain_of_tracebacks() -> None:
    inner = travelled(NeedsTwo("box", 3), "inner")
    middle = travelled(inner, "middle")
    outer = travelled(middle, "outer")
    assert isinstance(outer, NeedsTwo)
    assert type(outer.cause) is NeedsTwo
    assert outer.task_name == "outer"
    places = [outer.remote_traceback.index(f"Task {name} (pid 71") for name in ("inner", "middle", "outer")]
    assert places == sorted(places)
    assert outer.remote_traceback.count("Task inner") == 1


def test_an_error_raised_from_a_task_error_shows_both() -> None:
    try:
        try:
            raise travelled(ValueError("first"), "inner")
        except ValueError as error:
            raise KeyError("second") from error
    except KeyError as error:
        arrived = pickle.loads(pickle.dumps(capture(error, "outer", 1, "node-a")))
    assert isinstance(arrived, KeyError)
    assert arrived.remote_traceback.index("first") < arrived.remote_traceback.index("second")


def test_frames_of_asyncray_above_the_users_function_are_not_shown() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def run(f): f()", errors.__file__, "exec"), namespace)

    def users_function() -> None:
        raise ValueError("boom")

    try:
        namespace["run"](users_function)
    except ValueError as error:
        caught = error
        caught.__traceback__ = caught.__traceback__.tb_next if caught.__traceback__ else None
    text = capture(caught, "work", 1, "node-a").remote_traceback
    assert "users_function" in text
    assert "in run" not in text


def test_an_error_whose_str_fails_is_still_reported() -> None:
    error = travelled(BrokenStr("x"))
    assert isinstance(error, BrokenStr)
    assert "BrokenStr" in str(error)


def test_an_exception_that_refers_to_itself_travels() -> None:
    original = ValueError("loop")
    original.me = original  # type: ignore[attr-defined]
    error = travelled(original)
    assert str(error) == "loop"


def test_a_task_error_can_be_copied_and_pickled_by_anyone() -> None:
    error = travelled(NeedsTwo("box", 3))
    for twin in (copy.copy(error), copy.deepcopy(error), cloudpickle.loads(cloudpickle.dumps(error))):
        assert isinstance(twin, NeedsTwo)
        assert str(twin) == str(error)
        assert twin.remote_traceback == error.remote_traceback


def test_an_error_of_asyncray_keeps_its_type_across_tasks() -> None:
    error = travelled(ActorDiedError("gone", cause=travelled(ValueError("in the constructor"), "Counter.__init__")))
    assert isinstance(error, ActorDiedError)
    assert isinstance(error.cause, ValueError)


def test_an_actors_death_shows_the_traceback_of_its_constructor() -> None:
    death = ActorDiedError("Counter died", travelled(ValueError("boom"), "Counter.__init__"))
    death = pickle.loads(pickle.dumps(death))
    printed = "".join(traceback.format_exception(raised(death)))
    assert "Task Counter.__init__ (pid 71, node node-a) raised:" in printed
    assert str(death) == "Counter died"


def test_every_error_is_below_asyncray_error_and_can_be_pickled() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AsyncrayError)]
    assert len(kinds) >= 22
    for kind in set(kinds) - {TaskError}:
        twin = pickle.loads(pickle.dumps(kind("message")))
        assert type(twin) is kind
        assert str(twin) == "message"


def test_errors_are_the_standard_ones_where_there_are_such() -> None:
    assert issubclass(errors.GetTimeoutError, TimeoutError)
    assert issubclass(errors.ConnectionFailed, ConnectionError)
    assert issubclass(errors.AddressInUse, OSError)
    assert issubclass(errors.SerializationError, TypeError)
