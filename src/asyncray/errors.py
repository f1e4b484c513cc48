"""What asyncray raises: everything is below `AsyncrayError`.

`TaskError` carries an exception that user code raised in another process. `capture` makes one where the exception
is caught; pickled, it arrives as an instance of the user's own exception type at the same time.
"""

from __future__ import annotations

import inspect
import os
import pickle
import traceback
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar, overload

from asyncray.memory_shortage import REMEDY, MemoryShortage
from asyncray.portable_exception import (
    Dumps,
    OpaqueException,
    PackedException,
    blank,
    fill,
    message_of,
    pack,
    state_of,
    type_name,
    unpack,
)

_T = TypeVar("_T")


class AsyncrayError(Exception):
    """The base of all errors of asyncray."""


class TaskCancelledError(AsyncrayError):
    """The task was cancelled before it gave a result."""


class GetTimeoutError(AsyncrayError, TimeoutError):
    """A value did not arrive within the time given."""


class WorkerCrashedError(AsyncrayError):
    """The worker that ran the task died, and the task was not to be retried (again)."""


class ActorError(AsyncrayError):
    """An actor could not take a call or give its result."""


class ActorDiedError(ActorError):
    """The actor is gone for good. `cause` is what ended it, when that is an exception: its constructor's, say."""

    def __init__(self, message: str = "the actor died", cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        if cause is not None:
            # Shows the remote traceback above this error's own.
            self.__cause__ = cause

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.cause)


class ActorUnavailableError(ActorError):
    """The actor cannot be reached now; it may be restarting."""


class PendingCallsLimitExceeded(ActorError):
    """The actor has `max_pending_calls` calls waiting."""


class ObjectLostError(AsyncrayError):
    """No copy of the object is left."""


class OwnerDiedError(ObjectLostError):
    """The process that owned the object is gone."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object is lost, and the task that made it could not be run again."""


class ObjectFreedError(ObjectLostError):
    """The object was freed by its owner."""


class ObjectStoreFullError(AsyncrayError):
    """The object does not fit into its node's store."""


class OutOfMemoryError(AsyncrayError):
    """The worker was ended because its machine ran out of memory. `shortage` says what was seen there, in bytes."""

    def __init__(self, message: str = "out of memory", shortage: MemoryShortage | None = None) -> None:
        super().__init__(message)
        self.shortage = shortage

    @classmethod
    def of(cls, cause: str, shortage: MemoryShortage) -> Self:
        """With what a user can do about it."""
        return cls(f"{cause}. {REMEDY}", shortage)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.shortage)


class OutOfDiskError(AsyncrayError):
    """An object could not be spilled: the disk is full."""


class NodeDiedError(AsyncrayError):
    """The node that was to do the work is gone."""


class RuntimeEnvSetupError(AsyncrayError):
    """The runtime environment of a task or an actor could not be set up."""


class SchedulingError(AsyncrayError):
    """The task or actor can never be placed: no node fits, or its placement group was removed."""


class AuthenticationError(AsyncrayError):
    """The peer did not accept the cluster's token, or did not show one."""


class ProtocolError(AsyncrayError):
    """A peer sent what no peer of this version sends."""


class ConnectionFailed(AsyncrayError, ConnectionError):
    """A process of the cluster cannot be reached at its address."""


class AddressInUse(AsyncrayError, OSError):
    """The address that a daemon was to listen on is taken."""


class SerializationError(AsyncrayError, TypeError):
    """A value cannot be pickled, or what was pickled cannot be read here. The message names the culprit."""


class RemoteTraceback(Exception):
    """The cause of a `TaskError`: only there so that Python prints the remote traceback above the local one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class RemoteFailure(NamedTuple):
    """What a `TaskError` knows."""

    cause: BaseException
    task_name: str
    pid: int
    node: str
    remote_traceback: str


class _Detail(Generic[_T]):
    """A field of a `TaskError`'s failure, as an attribute that gives way to the user's own of the same name."""

    def __init__(self, field: str) -> None:
        self._field = field

    @overload
    def __get__(self, error: None, owner: type) -> _Detail[_T]: ...
    @overload
    def __get__(self, error: TaskError, owner: type) -> _T: ...
    def __get__(self, error: TaskError | None, owner: type) -> _Detail[_T] | _T:
        if error is None:
            return self
        value: _T = getattr(failure_of(error), self._field)
        return value


class TaskError(AsyncrayError):
    """User code in another process raised an exception.

    The error is also an instance of the user's exception type, with its message, `args` and attributes, so that
    `except ValueError` works across processes. Types that cannot be combined with this class give a plain
    `TaskError`: those that are not an `Exception` (`KeyboardInterrupt` would end the event loop here), those that
    asyncio cannot carry (`StopIteration`), and those that refuse to be subclassed.

    `cause` is a copy of the original exception, `remote_traceback` the text that Python prints above the local
    traceback. Where the user's exception has an attribute of one of these names, the user's is seen; `failure_of`
    gives all of them.
    """

    cause: _Detail[BaseException] = _Detail("cause")
    task_name: _Detail[str] = _Detail("task_name")
    pid: _Detail[int] = _Detail("pid")
    node: _Detail[str] = _Detail("node")
    remote_traceback: _Detail[str] = _Detail("remote_traceback")

    def __init__(self, *args: Any) -> None:
        """For code that makes an error from the `args` of another; asyncray itself uses `of`."""
        super().__init__(*args)
        self.__dict__[_FAILURE] = RemoteFailure(Exception(*args), "", 0, "", "")

    @staticmethod
    def of(failure: RemoteFailure) -> TaskError:
        """The error to raise for `failure`: of the user's type too, if that can be."""
        kind: type = _type_to_share(failure.cause)
        try:
            error = blank(_combined_type(kind), failure.cause)
            if isinstance(failure.cause, kind):
                fill(error, state_of(failure.cause))
        except Exception:  # odd layouts, metaclasses, __init_subclass__: there is no list of what can go wrong
            error = TaskError(*failure.cause.args)
        error.__dict__[_FAILURE] = failure
        error.__cause__ = RemoteTraceback(failure.remote_traceback)
        return error

    def __str__(self) -> str:
        cause = failure_of(self).cause
        if type(self) is TaskError and type(cause) not in (Exception, OpaqueException):
            return f"{type_name(type(cause))}: {message_of(cause)}"
        return message_of(cause)

    def __repr__(self) -> str:
        cause, task_name, pid, node, _ = failure_of(self)
        return f"TaskError({cause!r}, task {task_name}, pid {pid}, node {node})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduce_with(_dumps)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The user's type may define this one, which would come first.
        return self.__reduce__()

    def reduce_with(self, dumps: Dumps) -> tuple[Any, ...]:
        """`__reduce__`, with the pickler to use for the user's exception.

        That is pickled into bytes of its own: a reader that lacks its class still gets the rest.
        """
        cause, *origin = failure_of(self)
        # What could not be read here is handed on as it came: the next process may have the class.
        received: PackedException | None = self.__dict__.get(_RECEIVED)
        return _restore, (tuple(received or pack(cause, dumps)), *origin)


_FAILURE: Final = "_asyncray_failure"
_RECEIVED: Final = "_asyncray_received"
_DETAILS: Final = RemoteFailure._fields
_OWN_FILES: Final = os.path.dirname(__file__) + os.sep


def failure_of(error: TaskError) -> RemoteFailure:
    """What is known of the exception behind `error`."""
    failure: RemoteFailure = error.__dict__[_FAILURE]
    return failure


def capture(error: BaseException, task_name: str, pid: int, node: str) -> TaskError:
    """Makes the error that the caller of a task sees from `error`, which the task raised.

    An error that came from another task keeps its cause, and its remote traceback comes first in the text. An empty
    `task_name` stands for asyncray itself.
    """
    if not isinstance(error, TaskError):
        return TaskError.of(RemoteFailure(error, task_name, pid, node, _format(error, task_name, pid, node)))
    inner = failure_of(error)
    text = (
        f"{inner.remote_traceback.rstrip()}\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        f"{_format(error, task_name, pid, node, chain=False)}"
    )
    outer = TaskError.of(RemoteFailure(inner.cause, task_name, pid, node, text))
    if _RECEIVED in error.__dict__:
        outer.__dict__[_RECEIVED] = error.__dict__[_RECEIVED]
    return outer


def _format(error: BaseException, task_name: str, pid: int, node: str, *, chain: bool = True) -> str:
    title = f"Task {task_name} (pid {pid}, node {node}) raised:\n" if task_name else f"Process {pid} raised:\n"
    try:
        lines = traceback.format_exception(type(error), error, _user_part(error.__traceback__), chain=chain)
    except Exception:
        lines = [f"{type_name(type(error))}: {message_of(error)}\n"]
    return title + "".join(lines)


def _user_part(frames: TracebackType | None) -> TracebackType | None:
    """Without the frames of asyncray that called the user's function; all of them, if there is nothing else."""
    user = frames
    while user is not None and user.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
        user = user.tb_next
    return user or frames


def _type_to_share(cause: BaseException) -> type[BaseException]:
    kind = type(cause)
    if isinstance(cause, OpaqueException):
        kind = cause.base
    if not issubclass(kind, Exception) or issubclass(kind, (StopIteration, StopAsyncIteration)):
        return TaskError
    return kind


@lru_cache(maxsize=1024)
def _combined_type(kind: type) -> type[TaskError]:
    """A class below both `TaskError` and `kind`. Raises whatever the class statement would."""
    if kind is TaskError:
        return TaskError
    # The user's class attributes and properties hide ours, as the user's instance attributes do.
    namespace = {name: inspect.getattr_static(kind, name) for name in _DETAILS if hasattr(kind, name)}
    namespace |= {"__module__": TaskError.__module__, "__doc__": kind.__doc__}
    return type(f"TaskError({kind.__qualname__})", (TaskError, kind), namespace)


def _dumps(error: Any) -> bytes:
    import cloudpickle  # slow to import, and only for errors that are pickled by others than asyncray

    pickled: bytes = cloudpickle.dumps(error, protocol=5)
    return pickled


def _restore(packed: tuple[Any, ...], task_name: str, pid: int, node: str, text: str) -> TaskError:
    received = PackedException(*packed)
    cause = unpack(received, pickle.loads)
    error = TaskError.of(RemoteFailure(cause, task_name, pid, node, text))
    if isinstance(cause, OpaqueException):
        error.__dict__[_RECEIVED] = received
    return error
