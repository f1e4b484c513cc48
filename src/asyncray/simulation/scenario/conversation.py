"""Listens to the network: names what messages speak of, tells those that a reader wants to see, knows when all is
quiet."""

from __future__ import annotations

from typing import Any, Final

import msgpack

from asyncray import messages
from asyncray.simulation.process import Process
from asyncray.simulation.scenario.message_text import text_of
from asyncray.simulation.scenario.names import Names
from asyncray.simulation.transcript import Transcript

_STREAMS: Final = ("Session", "Exchange")
"""How the routes of streams end; all others are calls."""


class Conversation:
    """A watcher of the network."""

    def __init__(self, transcript: Transcript, names: Names) -> None:
        self.told: frozenset[int] = frozenset()
        """The kinds of messages that are told."""
        self.calls_told = False
        self.last_at = 0.0
        """When the last message arrived; signs of life, which nodes give for ever, do not count."""
        self._transcript = transcript
        self._names = names
        self._queues: dict[str, list[Any]] = {}
        """What nodes have said last of their queues."""
        self._functions: dict[tuple[str, int], str] = {}
        """Names of functions by the process that uses them, and the numbers of its templates."""

    def heard(self, time: float, source: Process, target: Process, route: str, body: bytes) -> None:
        if not route.endswith(_STREAMS):
            self.last_at = time
            if self.calls_told:
                is_reply = source.name.split()[0] in ("control", "node")
                self._tell(source, target, route.rpartition("/")[2] + (" answered" if is_reply else ""))
            return
        for message in msgpack.unpackb(body, strict_map_key=False):
            if self._is_sign_of_life(source, message):
                continue
            self.last_at = time
            self._learn(source, message)
            if message[0] in self.told:
                self._tell(source, target, text_of(self._names, message))

    def _tell(self, source: Process, target: Process, text: str) -> None:
        self._transcript.note(source, f"-> {target.name}: {text}")

    def _is_sign_of_life(self, source: Process, message: list[Any]) -> bool:
        if message[0] != messages.RESOURCES:
            return False
        _, changes, queue = message
        before = self._queues.get(source.name, [])
        self._queues[source.name] = queue
        return not changes and queue == before

    def _learn(self, source: Process, message: list[Any]) -> None:
        match message:
            case [messages.HELLO | messages.REGISTER_NODE, *_]:
                self._names.learn_processes()
            case [messages.TEMPLATE, number, _, function, _, _]:
                self._functions[source.name, number] = function
            case [messages.TASK, task_id, template, _, _]:
                self._names.suggest(task_id, self._functions.get((source.name, template), "task"))
