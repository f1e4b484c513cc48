"""A call as the worker sees it: from the message to the reply."""

from __future__ import annotations

from typing import Any

from asyncray.messages import OK
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Execution
from asyncray.worker.store_client import Pin


class ReceivedTemplate:
    """What a caller has told of a function or method, and the function itself once it is here."""

    __slots__ = ("function", "function_id", "is_async", "is_method", "name", "num_returns", "pickled", "title")

    def __init__(self, function_id: bytes, name: str, num_returns: int, is_method: bool) -> None:
        self.function_id = function_id
        self.name = name
        self.title = name
        """What people see: of a method, with its class."""
        self.num_returns = num_returns
        self.is_method = is_method
        self.function: Any = None
        self.pickled: bytes | None = None
        self.is_async = False


class Call:
    """One task or actor call, received and not yet answered: until `over`, its link lasts."""

    __slots__ = (
        "execution",
        "fetched",
        "link",
        "microseconds",
        "payload",
        "pins",
        "references",
        "returned",
        "returns",
        "status",
        "stored",
        "task_id",
        "template",
    )

    def __init__(
        self,
        link: PeerLink,
        task_id: bytes,
        template: ReceivedTemplate,
        payload: bytes,
        references: list[list[Any]] | None,
    ) -> None:
        self.link = link
        link.calls += 1
        self.task_id = task_id
        self.template = template
        self.payload = payload
        self.references = references
        self.execution: Execution | None = None
        """Made when the arguments may contain references: the reply then waits for their borrows."""
        self.pins: dict[bytes, Pin] | None = None
        """Stored arguments, by object id."""
        self.fetched: dict[bytes, ObjectRef] | None = None
        """Arguments that were too large to travel with the others, by object id."""
        self.status = OK
        self.returns: list[Any] = []
        self.returned: list[ObjectRef] | None = None
        """References inside the result: kept until `hold_result` does, until the caller has confirmed its borrows."""
        self.stored: list[bytes] = []
        """Ids of the returned objects that are in the node's store already."""
        self.microseconds = 0

    def over(self) -> None:
        """It has been answered, or handed back."""
        self.link.calls -= 1
