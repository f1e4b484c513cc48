"""The streams of nodes and processes to the control plane: who is behind each, and who handles what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asyncray.errors import ProtocolError
from asyncray.ids import Id
from asyncray.messages import Message
from asyncray.rpc.stream import FrameStream

Handler = Callable[["Session", list[Any]], None]
"""Takes a message of one kind. What it raises closes the session; ProtocolError is for what the peer did wrong."""


class Session:
    """One peer's stream. Its first message must say who it is: `opening` is that message's kind."""

    def __init__(
        self,
        stream: FrameStream,
        opening: int,
        handlers: Mapping[int, Handler],
        closed: Callable[[Session, Exception | None], None],
    ) -> None:
        self.peer: Id | None = None
        """Set by the handler of the opening message."""
        self._stream = stream
        self._opening = opening
        self._handlers = handlers
        self._closed = closed

    def send(self, message: Message) -> None:
        self._stream.send(message)

    def send_packed(self, packed: bytes) -> None:
        """What `codec.packer` has encoded."""
        self._stream.send_packed(packed)

    def close(self, error: Exception | None = None) -> None:
        self._stream.close(error)

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        kind: int = message[0]
        if (self.peer is None) != (kind == self._opening):
            when = "before" if self.peer is None else "after"
            raise ProtocolError(f"a message of kind {kind} cannot come {when} its sender is known")
        handler = self._handlers.get(kind)
        if handler is None:
            raise ProtocolError(f"the control plane takes no message of kind {kind} on this stream")
        handler(self, message)

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self._closed(self, error)
