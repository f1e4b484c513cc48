"""Identifiers: fixed-length byte strings, a type each.

They are `bytes` (equal to, and hashing as, the bytes that arrive from the wire), so that a dictionary
keyed by them can be looked up with what a decoder returns, without building an object per message.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import ClassVar, Self


class Id(bytes):
    """`LENGTH` bytes that name one thing of a kind."""

    __slots__ = ()
    LENGTH: ClassVar[int] = 16

    def __new__(cls, raw: bytes) -> Self:
        if len(raw) != cls.LENGTH:
            raise ValueError(f"{cls.__name__} takes {cls.LENGTH} bytes, got {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def random(cls) -> Self:
        return cls(os.urandom(cls.LENGTH))

    @classmethod
    def from_hex(cls, text: str) -> Self:
        return cls(bytes.fromhex(text))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __str__(self) -> str:
        return self.hex()


class ProcessId(Id):
    """A driver or a worker: whoever can own objects."""

    __slots__ = ()


class NodeId(Id):
    """One machine of the cluster (one node manager)."""

    __slots__ = ()


class JobId(Id):
    """One driver's program."""

    __slots__ = ()
    LENGTH = 4


class LeaseId(Id):
    """The right to run tasks on one worker."""

    __slots__ = ()
    LENGTH = 8


class FunctionId(Id):
    """The hash of a pickled function or class: its key in the function table."""

    __slots__ = ()

    @classmethod
    def of(cls, pickled: bytes) -> Self:
        return cls(blake2b(pickled, digest_size=cls.LENGTH).digest())


class TaskId(Id):
    """One task. Derived from its parent's, so that running the parent again gives the same ids."""

    __slots__ = ()

    def child(self, counter: int) -> TaskId:
        """The id of the `counter`-th task that this one submits."""
        return TaskId(derive_task_id(self, counter))


class ActorId(Id):
    """One actor: the id of the task that creates it."""

    __slots__ = ()


class ObjectId(Id):
    """One object: the id of the task that makes it (16 bytes), then a big-endian index (4 bytes)."""

    __slots__ = ()
    LENGTH = 20


_PUT = 1 << 31


def derive_task_id(parent: bytes, counter: int) -> bytes:
    """The 16 bytes of a child's `TaskId`; the hot path's form of `TaskId.child`."""
    return blake2b(parent + counter.to_bytes(8, "big"), digest_size=16).digest()


def return_id(task_id: bytes, index: int) -> bytes:
    """The `ObjectId` (20 bytes) of the `index`-th return value of a task."""
    return task_id + index.to_bytes(4, "big")


KEY_LENGTH = ObjectId.LENGTH + ProcessId.LENGTH
"""Bytes of a store key."""


def store_key(object_id: bytes, owner: bytes) -> bytes:
    """What the nodes' stores know an object by: its id (20 bytes), then the `ProcessId` of its owner (16 bytes).

    A task that runs again in another process derives the ids of what it puts anew: those objects have another owner.
    """
    return object_id + owner


def owner_of(key: bytes) -> bytes:
    """The `ProcessId` of the owner of a stored object."""
    return key[ObjectId.LENGTH :]


def object_of(key: bytes) -> bytes:
    """The `ObjectId` of a stored object."""
    return key[: ObjectId.LENGTH]


def put_id(task_id: bytes, counter: int) -> bytes:
    """The `ObjectId` (20 bytes) of the `counter`-th object that a task puts."""
    return task_id + (_PUT | counter).to_bytes(4, "big")
