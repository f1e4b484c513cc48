"""A simulated disk keeps its promises through any sequence of operations, deaths and losses of power."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncray.simulation.disk import DiskConditions, SimulatedDisk
from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.process import Process

CAPACITY = 60

names = st.sampled_from("abc")
payloads = st.lists(st.binary(max_size=6), max_size=3)
moments = st.floats(0, 0.001)
"""When somebody dies, in seconds: some operations end before."""


class FileModel:
    """What a file may hold when power is lost: any prefix of any of its versions, that it has had since its sync."""

    def __init__(self, content: bytes = b"", lasting: int = 0) -> None:
        self.versions = [content]
        self.lasting = lasting
        """Bytes of the first version that must be there if that is the one."""

    @property
    def content(self) -> bytes:
        return self.versions[-1]

    def sync(self) -> None:
        self.versions = [self.content]
        self.lasting = len(self.content)

    def may_become(self, content: bytes) -> bool:
        return any(
            version.startswith(content) and (number > 0 or len(content) >= self.lasting)
            for number, version in enumerate(self.versions)
        )


class DiskMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.disk = SimulatedDisk(random.Random(seed), DiskConditions(capacity=CAPACITY))
        self.processes: list[Process] = []
        self.stages: list[dict[str, FileModel]] = [{}]
        """What the folder has listed since it was synced, the last one now."""

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for process in self.processes:
                process.bury()
            self.loop.close()

    @property
    def files(self) -> dict[str, FileModel]:
        return self.stages[-1]

    @rule(name=names, payload=payloads)
    def write(self, name: str, payload: list[bytes]) -> None:
        error = self.attempt(self.disk.write(f"/{name}", payload))
        self.was_written(name, self.held(name), b"".join(payload), error)

    @rule(name=names, payload=payloads)
    def append(self, name: str, payload: list[bytes]) -> None:
        before = self.files[name].content if name in self.files else b""
        error = self.attempt(self.disk.append(f"/{name}", payload))
        self.was_extended(name, self.held(name), before + b"".join(payload), error)

    @rule(name=names)
    def sync(self, name: str) -> None:
        error = self.attempt(self.disk.sync(f"/{name}"))
        assert error == (None if name in self.files else errno.ENOENT)
        if error is None:
            self.files[name].sync()
            self.stages = [self.files]

    @rule()
    def sync_folder(self) -> None:
        assert self.attempt(self.disk.sync("/")) is None
        self.stages = [self.files]

    @rule(name=names, new_name=names)
    def rename(self, name: str, new_name: str) -> None:
        error = self.attempt(self.disk.rename(f"/{name}", f"/{new_name}"))
        assert error == (None if name in self.files else errno.ENOENT)
        if error is None:
            self.stages.append(self.renamed(name, new_name))

    @rule(name=names)
    def remove(self, name: str) -> None:
        error = self.attempt(self.disk.remove(f"/{name}"))
        assert error == (None if name in self.files else errno.ENOENT)
        if error is None:
            self.stages.append(self.without(name))

    @rule(name=names, payload=payloads, moment=moments)
    def die_in_a_write(self, name: str, payload: list[bytes], moment: float) -> None:
        self.die_in(self.disk.write(f"/{name}", payload), moment)
        if name not in self.listed():
            assert name not in self.files
            return
        content, whole = self.held(name), b"".join(payload)
        untouched = name in self.files and content == self.files[name].content
        assert untouched or whole.startswith(content)
        self.wrote(name, content)

    @rule(name=names, payload=payloads, moment=moments)
    def die_in_an_append(self, name: str, payload: list[bytes], moment: float) -> None:
        before = self.files[name].content if name in self.files else b""
        self.die_in(self.disk.append(f"/{name}", payload), moment)
        if name not in self.listed():
            assert name not in self.files
            return
        content = self.held(name)
        assert content.startswith(before)
        assert (before + b"".join(payload)).startswith(content)
        self.extended(name, content)

    @rule(name=names, moment=moments)
    def die_in_a_sync(self, name: str, moment: float) -> None:
        self.die_in(self.disk.sync(f"/{name}"), moment)  # nothing to be seen, nothing to rely on

    @rule(name=names, new_name=names, moment=moments)
    def die_in_a_rename(self, name: str, new_name: str, moment: float) -> None:
        self.die_in(self.disk.rename(f"/{name}", f"/{new_name}"), moment)
        if name in self.files and name not in self.listed():
            self.stages.append(self.renamed(name, new_name))

    @rule(name=names, moment=moments)
    def die_in_a_removal(self, name: str, moment: float) -> None:
        self.die_in(self.disk.remove(f"/{name}"), moment)
        if name in self.files and name not in self.listed():
            self.stages.append(self.without(name))

    @rule(name=names, payload=payloads)
    def fail_in_an_append(self, name: str, payload: list[bytes]) -> None:
        before = self.files[name].content if name in self.files else b""
        self.disk.fail(errno.EIO)
        assert self.attempt(self.disk.append(f"/{name}", payload)) == errno.EIO
        self.disk.heal()
        if name in self.listed():
            content = self.held(name)
            assert content.startswith(before)
            assert (before + b"".join(payload)).startswith(content)
            self.extended(name, content)

    @precondition(lambda self: self.stages != [{}])
    @rule()
    def lose_power(self) -> None:
        self.disk.power_lost()
        found = {name: self.held(name) for name in self.listed()}
        assert any(
            found.keys() == stage.keys() and all(stage[name].may_become(found[name]) for name in found)
            for stage in self.stages
        ), f"{found} is nothing that was ever there"
        self.stages = [{name: FileModel(content, len(content)) for name, content in found.items()}]

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        if not hasattr(self, "disk"):
            return
        assert self.listed() == sorted(self.files)
        for name, file in self.files.items():
            assert self.held(name) == file.content
        assert self.disk.contents.used == sum(len(file.content) for file in self.files.values())

    # ----

    def was_written(self, name: str, content: bytes, wanted: bytes, error: int | None) -> None:
        self.was_done(content, wanted, error)
        self.wrote(name, content)
        self.is_full_after(error)

    def was_extended(self, name: str, content: bytes, wanted: bytes, error: int | None) -> None:
        self.was_done(content, wanted, error)
        self.extended(name, content)
        self.is_full_after(error)

    def was_done(self, content: bytes, wanted: bytes, error: int | None) -> None:
        if error is None:
            assert content == wanted
        else:
            assert error == errno.ENOSPC
            assert wanted.startswith(content)
            assert len(content) < len(wanted)

    def is_full_after(self, error: int | None) -> None:
        assert error is None or self.disk.contents.used >= CAPACITY

    def wrote(self, name: str, content: bytes) -> None:
        self.created(name).versions.append(content)

    def extended(self, name: str, content: bytes) -> None:
        self.created(name).versions[-1] = content

    def created(self, name: str) -> FileModel:
        if name not in self.files:
            self.stages.append({**self.files, name: FileModel()})
        return self.files[name]

    def renamed(self, name: str, new_name: str) -> dict[str, FileModel]:
        return {**self.without(name), new_name: self.files[name]}

    def without(self, name: str) -> dict[str, FileModel]:
        return {other: file for other, file in self.files.items() if other != name}

    def listed(self) -> list[str]:
        return self.disk.contents.names("/")

    def held(self, name: str) -> bytes:
        return self.disk.contents.read(f"/{name}")

    def attempt(self, operation: Coroutine[Any, Any, object]) -> int | None:
        """Its error number."""
        try:
            self.loop.run_until_complete(operation)
        except OSError as error:
            return error.errno
        return None

    def die_in(self, operation: Coroutine[Any, Any, object], moment: float) -> None:
        async def main() -> None:
            process = Process(f"node {len(self.processes)}", "10.0.0.1", 1)
            self.processes.append(process)
            process.spawn(operation, "an operation").add_done_callback(lambda task: task.exception())
            await asyncio.sleep(moment)
            process.kill("killed by SIGKILL")

        self.loop.run_until_complete(main())


TestDiskMachine = DiskMachine.TestCase
TestDiskMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
