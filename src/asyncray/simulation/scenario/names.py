"""What a transcript calls things, instead of by their random ids: as the scenario does, else by what they are."""

from __future__ import annotations

import re
from collections import Counter

from asyncray.ids import ObjectId, TaskId
from asyncray.messages import Address
from asyncray.simulation.cluster import SimCluster

_PUT = 1 << 31
_ID = re.compile(r"(?P<word>\b\w+ )?\b(?P<digits>[0-9a-f]{8,40})\b(\.(?P<put>put)?(?P<index>\d+)\b)?")
"""An id in a text, perhaps that of an object after that of its task, and the word before it."""


class Names:
    """Names by ids. What the scenario has not named is numbered by its kind, in the order of first appearance."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._given: dict[bytes, str] = {}
        self._processes: dict[bytes, str] = {}
        self._addresses: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def give(self, id: bytes, name: str) -> None:
        """From now on it is called so."""
        self._given[id] = name

    def suggest(self, id: bytes, kind: str) -> None:
        """Unless it has a name already, it is the next one of its kind."""
        if id not in self._given:
            self._counts[kind] += 1
            self._given[id] = f"{kind} {self._counts[kind]}"

    def learn_processes(self) -> None:
        """Those that live now: the transcript may mention them when they are dead."""
        for process, runtime in self._cluster.runtimes.items():
            self._processes[runtime.process_id] = process.name
            self._given.setdefault(runtime.root.task_id, process.name)
            if runtime.job_id is not None and runtime.role == "driver":
                self._given.setdefault(runtime.job_id, f"job {process.name.split()[1]}")
        for node in self._cluster.nodes:
            self._processes[node.node_id] = self._addresses[node.host] = node.name
            for id, process in node.workers.items():
                self._processes[id] = process.name

    def task(self, id: bytes) -> str:
        return self._named(id, "task")

    def object(self, id: bytes) -> str:
        """As the scenario does; else after the task that made it."""
        if id in self._given or len(id) != ObjectId.LENGTH:
            return self._named(id, "object")
        task, index = id[: TaskId.LENGTH], int.from_bytes(id[TaskId.LENGTH :], "big")
        if index & _PUT:
            return f"{self.task(task)}.put{index - _PUT}"
        return f"{self.task(task)}[{index}]" if index else self.task(task)

    def lease(self, id: bytes) -> str:
        return self._named(id, "lease")

    def actor(self, id: bytes) -> str:
        return self._named(id, "actor")

    def job(self, id: bytes) -> str:
        return self._named(id, "job")

    def process(self, id: bytes) -> str:
        """A driver, a worker or a node by its id."""
        if id not in self._processes:
            self.learn_processes()
        return self._processes.get(id) or self._named(id, "process")

    def address(self, address: Address) -> str:
        return self.process(address[0])

    def node_at(self, address: str) -> str:
        """By `host:port` or `unix:/path`."""
        host = address.rpartition(":")[0]
        if host not in self._addresses:
            self.learn_processes()
        return self._addresses.get(host, address)

    def in_text(self, text: str) -> str:
        """The text with names for the ids that it mentions, in full or by their first digits."""
        self.learn_processes()
        known = {**self._given, **self._processes}

        def named(match: re.Match[str]) -> str:
            digits = match["digits"]
            ids = [id for id in known if id.hex().startswith(digits)]
            if not ids:
                return match[0]
            if match["index"] is not None:
                index = int(match["index"]) | (_PUT if match["put"] else 0)
                name = self.object(ids[0][: TaskId.LENGTH] + index.to_bytes(4, "big"))
            else:
                name = known[min(ids, key=len)]
            word = match["word"] or ""
            return name if name.startswith(word) else word + name  # not: node node 1

        return _ID.sub(named, text)

    def _named(self, id: bytes, kind: str) -> str:
        self.suggest(id, kind)
        return self._given[id]
