"""What streams and calls have in common: a place on a connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from asyncray.simulation.network.connection import Connection

Headers = list[tuple[str, str]]


class Request(NamedTuple):
    """What opens a stream or makes a call."""

    route: str
    authorization: tuple[str, str]
    """The header with the token."""
    message: bytes | None = None
    """Of a call; None for a stream."""
    timeout: float | None = None
    """Seconds that the caller waits."""


class Link(ABC):
    """One side of a stream or call, known to its connection by a number."""

    __slots__ = ("connection", "number", "over", "route", "unsent")

    def __init__(self, connection: Connection, route: str) -> None:
        self.connection = connection
        self.route = route
        self.number = 0
        """0 before it has started."""
        self.over = False
        """Nothing more is to be delivered."""
        self.unsent = 0
        """Bytes that wait for the window."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """A frame, or the reply to a call."""

    @abstractmethod
    def on_end(self, headers: Headers | None) -> None:
        """The other side sends nothing more; a server says by its headers why."""

    @abstractmethod
    def on_reset(self, code: int) -> None:
        """The other side wants nothing more."""

    @abstractmethod
    def on_connection_lost(self, error: Exception) -> None:
        """It is over, with its connection."""

    def on_taken(self) -> None:  # noqa: B027 - only who opens a stream waits for that
        """The other side has taken the stream."""

    def on_sent(self) -> None:  # noqa: B027 - only streams wait for that
        """All that waited for the window has gone out."""

    def leave(self) -> None:
        """Takes no further part in the connection."""
        self.over = True
        self.connection.out.withdraw(self)
        self.connection.forget(self)

    def send_end(self, headers: Any = None) -> None:
        self.connection.send_end(self.number, headers)

    def send_reset(self, code: int) -> None:
        self.connection.send_reset(self.number, code)
