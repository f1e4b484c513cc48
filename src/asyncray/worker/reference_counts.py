"""Reference counts between processes: what others say of references, and what follows from the counts here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from asyncray import messages
from asyncray.worker.effects import Effect, Forgotten, Free, Gone, OwnerDied, Released, ReplyReady, Send
from asyncray.worker.peers import PeerLink

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime


class ReferenceCounts:
    """Brings messages and deaths to `Ownership`, and carries out its effects."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.peers.handlers |= {
            messages.BORROW: self._on_borrow,
            messages.BORROW_ACK: self._on_borrow_ack,
            messages.RELEASE: self._on_release,
            messages.CONFIRM: self._on_confirm,
        }
        runtime.peers.on_lost.append(self._link_lost)
        runtime.peers.needed.append(self._ties)

    def apply(self) -> None:
        """Carries out what has followed so far. Loop thread only."""
        with self._runtime.ownership_lock:
            effects = deque(self._runtime.ownership.take_effects())
        try:
            while effects:
                effect = effects.popleft()
                self._effect_handlers[type(effect)](self, effect)
        except BaseException:  # one that fails must not take the others with it
            with self._runtime.ownership_lock:
                self._runtime.ownership.effects[:0] = effects
            self._runtime.schedule_turn()
            raise

    def _send(self, effect: Send) -> None:
        self._runtime.peers.link(effect.address).send(effect.message)

    def _unused(self, effect: Free | Released) -> None:
        self._runtime.objects.forget(effect.reference)
        if self._runtime.actors.lanes:
            self._runtime.actors.forget(effect.reference)

    def _owner_died(self, effect: OwnerDied) -> None:
        self._runtime.objects.owner_died(effect.reference)
        if self._runtime.actors.lanes:
            self._runtime.actors.owner_died(effect.reference)

    def _gone(self, effect: Gone) -> None:
        if effect.reference.state == 0:
            self._runtime.objects.resolve(effect.reference, messages.GONE, None)

    def _reply_ready(self, effect: ReplyReady) -> None:
        assert self._runtime.executor is not None
        self._runtime.executor.borrowed(effect.execution)

    def _forgotten(self, effect: Forgotten) -> None:
        """Only lineage kept the record, and the value went before."""

    _effect_handlers: dict[type[Effect], Callable[[ReferenceCounts, Any], None]] = {  # noqa: RUF012
        Send: _send,
        Free: _unused,
        Released: _unused,
        OwnerDied: _owner_died,
        Gone: _gone,
        ReplyReady: _reply_ready,
        Forgotten: _forgotten,
    }

    def _on_borrow(self, link: PeerLink, id: bytes, sequence: int) -> None:
        with self._runtime.ownership_lock:
            self._runtime.ownership.on_borrow(link.address, id, sequence)
        self._runtime.schedule_turn()

    def _on_borrow_ack(self, link: PeerLink, id: bytes, sequence: int, alive: bool) -> None:
        with self._runtime.ownership_lock:
            self._runtime.ownership.on_borrow_ack(link.address, id, sequence, alive)
        self._runtime.schedule_turn()

    def _on_release(self, link: PeerLink, id: bytes) -> None:
        with self._runtime.ownership_lock:
            self._runtime.ownership.on_release(link.address, id)
        self._runtime.schedule_turn()

    def _on_confirm(self, link: PeerLink, task_id: bytes) -> None:
        with self._runtime.ownership_lock:
            self._runtime.ownership.on_confirm(link.address, task_id)
        self._runtime.schedule_turn()

    def _link_lost(self, link: PeerLink, cause: str) -> None:
        with self._runtime.ownership_lock:
            self._runtime.ownership.process_lost(link.process_id)
        self.apply()

    def _ties(self) -> Container[bytes]:
        return self._runtime.ownership.ties
