"""Which sessions want to know about which actors."""

from __future__ import annotations

from asyncray.control.session import Session
from asyncray.messages import Message


class ActorSubscriptions:
    """A subscription lasts until its session or its actor ends. It may come before the actor is registered."""

    def __init__(self) -> None:
        self._by_actor: dict[bytes, dict[Session, None]] = {}
        self._by_session: dict[Session, dict[bytes, None]] = {}

    def add(self, actor_id: bytes, session: Session) -> None:
        self._by_actor.setdefault(actor_id, {})[session] = None
        self._by_session.setdefault(session, {})[actor_id] = None

    def publish(self, actor_id: bytes, message: Message) -> None:
        for session in self._by_actor.get(actor_id, ()):
            session.send(message)

    def __contains__(self, actor_id: bytes) -> bool:
        return actor_id in self._by_actor

    def drop_actor(self, actor_id: bytes) -> None:
        for session in self._by_actor.pop(actor_id, {}):
            actors = self._by_session[session]
            del actors[actor_id]
            if not actors:
                del self._by_session[session]

    def drop_session(self, session: Session) -> None:
        for actor_id in self._by_session.pop(session, {}):
            sessions = self._by_actor[actor_id]
            del sessions[session]
            if not sessions:
                del self._by_actor[actor_id]
