"""What `Ownership` asks the runtime to do."""

from __future__ import annotations

from dataclasses import dataclass

from asyncray.messages import Address, Message
from asyncray.worker.reference import Execution, Reference


@dataclass(slots=True)
class Send:
    """Send `message` to the process at `address`; if it cannot be reached: `process_lost`."""

    address: Address
    message: Message


@dataclass(slots=True)
class Free:
    """Nobody can reach the value of this owned object: drop it, here and in the stores."""

    reference: Reference
    forgotten: bool = True
    """The record is gone too. If lineage still needs it: a `Forgotten` follows one day, or the value is made again."""


@dataclass(slots=True)
class Released:
    """This process has no more use for this borrowed object: drop what is cached of it."""

    reference: Reference
    forgotten: bool = True
    """As in `Free`."""


@dataclass(slots=True)
class Forgotten:
    """The record of an object freed or released earlier has gone, as no lineage needs it any more."""

    reference: Reference


@dataclass(slots=True)
class OwnerDied:
    """The owner is dead: whoever waits for this borrowed object waits in vain."""

    reference: Reference


@dataclass(slots=True)
class Gone:
    """The owner lives, but had freed the object before it heard of this borrower (a process between them died)."""

    reference: Reference


@dataclass(slots=True)
class ReplyReady:
    """`reply_ready(execution)` was False: now the reply may be sent."""

    execution: Execution


Effect = Send | Free | Released | Forgotten | OwnerDied | Gone | ReplyReady
