"""How two processes that need nothing of each other end their link, without either taking that for a death.

A state machine without I/O, one for each side of a link. A side that needs nothing *asks*: it says how many messages
it has received, and keeps back from then on what it would send. The other side *agrees* if it needs nothing either,
and has sent just that many: then nothing is under way to the one that asked. Nor is there anything under way from it:
what it had sent before arrived before the question. So both know that the link is over, and that every message of it
has arrived. What was kept back goes out on the next link. If the other side does not agree, the link stays, and what
was kept back goes out on it.

Who has agreed leaves the ending of the streams to the one that asked: their end must not overtake the answer, which
comes on one of them. That one may already dial again, before its answer has arrived: streams that come to the side
that asked are *late*, and the answer decides to which link they belong. This works because a link with streams that
only one side knows of, or with a dial under way, is never given up: the question says how many streams there are.

Both sides may ask at the same time. Each answers all the same; one agreement is enough, whatever the other answer.
If both agree, both end the streams.
"""

from __future__ import annotations

from typing import Generic, TypeVar

S = TypeVar("S")
"""A stream."""


class Parting(Generic[S]):
    """One side's view of the streams between two processes."""

    __slots__ = ("asked", "heard_late", "late", "received", "sent", "streams")

    def __init__(self) -> None:
        self.streams: tuple[S, ...] = ()
        """Of this link: two when both sides have dialled."""
        self.late: tuple[S, ...] = ()
        """Of this link or the next one."""
        self.sent = 0
        """Messages on this link, which all travel on the same stream."""
        self.received = 0
        self.heard_late = 0
        """Those of them that came on late streams."""
        self.asked: S | None = None
        """The stream on which the question went, while there is no answer: nothing else may be sent."""

    def came(self, stream: S) -> bool:
        """A new stream is there, dialled by either side. Whether it is certain to be of this link."""
        if self.asked is None:
            self.streams = (*self.streams, stream)
        else:
            self.late = (*self.late, stream)
        return self.asked is None

    def heard(self, stream: S) -> None:
        """A message has come."""
        self.received += 1
        if self.late and stream in self.late:
            self.heard_late += 1

    def ask(self, stream: S) -> None:
        """This side needs nothing, and sends PART with its counts of messages received and of streams."""
        assert self.asked is None and not self.late
        self.asked = stream

    def agrees(self, stream: S, received: int, streams: int, *, free: bool) -> bool:
        """What to answer to a PART. `free`: this side needs nothing, has nothing to send, and does not dial."""
        crossed = received != self.sent or streams != len(self.streams) or bool(self.late)
        return free and not crossed and stream in self.streams

    def refused(self) -> S | None:
        """The other side does not agree. Returns the stream on which to go on."""
        stream, self.asked = self.asked, None
        self.streams += self.late
        self.late, self.heard_late = (), 0
        return stream

    def parted(self) -> tuple[S, ...]:
        """The other side has agreed. Returns the streams to end; those that are left are of the next link."""
        ended, self.streams = self.streams, self.late
        self.received, self.sent, self.heard_late = self.heard_late, 0, 0
        self.late, self.asked = (), None
        return ended
