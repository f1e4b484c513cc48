"""Time, room and faults of a simulated disk."""

from __future__ import annotations

import asyncio
import errno
from itertools import pairwise
from math import inf

import pytest

from asyncray.config import DEFAULT
from asyncray.simulation.disk import DiskConditions
from asyncray.simulation.network import Conditions
from asyncray.simulation.world import World

from .disk_machine import Machine, now, outcomes, write_synced


def test_an_operation_takes_its_latency_and_the_time_of_its_bytes() -> None:
    async def main() -> list[float]:
        times = [now()]
        for operation in (
            disk.write("/file", [bytes(150), bytes(50)]),
            disk.append("/file", [bytes(100)]),
            disk.read("/file"),
            disk.read_into("/file", 0, bytearray(200)),
            disk.sync("/file"),
            disk.rename("/file", "/new"),
            disk.free("/"),
            disk.names("/"),
            disk.remove("/new"),
            disk.make_folder("/folder"),
        ):
            await operation
            times.append(now())
        return [after - before for before, after in pairwise(times)]

    machine = Machine()
    disk = machine.disk
    assert machine.run(main()) == [2.5, 1.5, 3.5, 2.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_operations_wait_for_each_other_in_the_order_of_their_calls() -> None:
    async def main() -> list[tuple[str, float]]:
        ended: list[tuple[str, float]] = []

        async def write(name: str, size: int) -> None:
            await machine.disk.write(f"/{name}", [bytes(size)])
            ended.append((name, now()))

        await asyncio.gather(write("long", 200), write("short", 50), write("empty", 0))
        return ended

    machine = Machine()
    assert machine.run(main()) == [("long", 2.5), ("short", 3.5), ("empty", 4.0)]


def test_a_slow_disk_is_slow_until_it_is_healed() -> None:
    async def main() -> list[float]:
        machine.disk.slow(10)
        await machine.disk.write("/file", [bytes(50)])
        slow = now()
        machine.disk.heal()
        await machine.disk.write("/file", [bytes(50)])
        return [slow, now() - slow]

    machine = Machine()
    assert machine.run(main()) == [10, 1]


def test_the_same_seed_takes_the_same_time() -> None:
    async def main(machine: Machine) -> float:
        for number in range(10):
            await machine.disk.write(f"/{number}", [b"x"])
        return now()

    def run(seed: int) -> float:
        machine = Machine(seed, DiskConditions())
        return machine.run(main(machine))

    assert run(1) == run(1) != run(2)


def test_conditions_are_checked() -> None:
    with pytest.raises(ValueError, match="capacity"):
        DiskConditions(capacity=-1)
    with pytest.raises(ValueError, match="bandwidth"):
        DiskConditions(bandwidth=0)
    with pytest.raises(ValueError, match="times as slow"):
        Machine().disk.slow(0)


def test_a_full_disk_keeps_what_fitted() -> None:
    async def main() -> None:
        await disk.write("/first", [bytes(900)])
        with pytest.raises(OSError) as caught:
            await disk.append("/second", [b"a" * 80, b"b" * 40])
        assert caught.value.errno == errno.ENOSPC
        assert await disk.read("/second") == b"a" * 80 + b"b" * 20
        assert await disk.free("/") == 0

    machine = Machine()
    disk = machine.disk
    machine.run(main())


def test_what_is_removed_or_replaced_makes_room() -> None:
    async def main() -> list[int]:
        room = []
        await disk.write("/a", [bytes(900)])
        await disk.write("/a", [bytes(950)])
        room.append(await disk.free("/"))
        await disk.write("/b", [bytes(50)])
        await disk.rename("/b", "/a")
        room.append(await disk.free("/"))
        await disk.remove("/a")
        room.append(await disk.free("/"))
        return room

    machine = Machine()
    disk = machine.disk
    assert machine.run(main()) == [50, 950, 1000]


def test_a_disk_that_others_fill_has_no_room_and_less_than_none_is_none() -> None:
    async def main() -> None:
        await disk.write("/file", [bytes(500)])
        disk.conditions = DiskConditions(capacity=100)
        assert await disk.free("/") == 0
        with pytest.raises(OSError) as caught:
            await disk.append("/file", [b"x"])
        assert caught.value.errno == errno.ENOSPC
        assert len(await disk.read("/file")) == 500

    machine = Machine()
    disk = machine.disk
    machine.run(main())


def test_a_failing_disk_fails_every_operation_until_it_is_healed() -> None:
    async def main() -> None:
        await disk.write("/file", [b"content"])
        disk.fail()
        for operation in (
            disk.write("/new", [b"x"]),
            disk.append("/file", [b"x"]),
            disk.read("/file"),
            disk.read_into("/file", 0, bytearray(1)),
            disk.sync("/file"),
            disk.rename("/file", "/other"),
            disk.remove("/file"),
            disk.make_folder("/folder"),
            disk.names("/"),
            disk.free("/"),
        ):
            with pytest.raises(OSError) as caught:
                await operation
            assert caught.value.errno == errno.EIO
        disk.heal()
        assert (await disk.read("/file")).startswith(b"content")

    machine = Machine()
    disk = machine.disk
    machine.run(main())


def test_a_disk_may_fail_for_writers_only_or_for_readers_only() -> None:
    async def main() -> None:
        await disk.write("/file", [b"content"])
        disk.fail(errno.EROFS, reads=False)
        assert await disk.read("/file") == b"content"
        with pytest.raises(OSError) as caught:
            await disk.remove("/file")
        assert caught.value.errno == errno.EROFS
        disk.fail(writes=False)
        await disk.append("/file", [b"!"])
        with pytest.raises(OSError) as caught:
            await disk.read("/file")
        assert caught.value.errno == errno.EIO

    machine = Machine()
    disk = machine.disk
    machine.run(main())


def test_a_write_that_fails_may_have_written_a_part() -> None:
    async def main(machine: Machine) -> int:
        machine.disk.fail()
        with pytest.raises(OSError):
            await machine.disk.append("/file", [b"0123456789"])
        machine.disk.heal()
        content = await machine.disk.read("/file")
        assert b"0123456789".startswith(content)
        return len(content)

    sizes = outcomes(main)
    assert len(set(sizes)) > 3
    assert max(sizes) < 10


def test_a_bit_that_flips_is_noticed_by_nobody_but_changes_the_file() -> None:
    async def main() -> None:
        await disk.write("/file", [bytes(10)])
        await disk.sync("/file")
        disk.contents.corrupt("/file")
        content = await disk.read("/file")
        assert sum(byte.bit_count() for byte in content) == 1
        disk.power_lost()
        assert await disk.read("/file") == content

    machine = Machine()
    disk = machine.disk
    machine.run(main())


def test_the_mistake_of_a_caller_is_raised_at_the_caller() -> None:
    async def main() -> None:
        buffer = memoryview(bytearray(4))
        reading = asyncio.create_task(machine.disk.read_into("/file", 0, buffer))
        await asyncio.sleep(0)
        buffer.release()
        with pytest.raises(ValueError, match="released"):
            await reading
        assert await machine.disk.names("/") == ["file"]

    machine = Machine()
    machine.loop.run_until_complete(write_synced(machine.disk, b"content"))
    machine.run(main())


def test_the_processes_of_a_machine_share_its_disk_and_no_other() -> None:
    async def main() -> None:
        first, second, elsewhere = (
            world.platform(world.process(f"node {number}", host)).disk
            for number, host in enumerate(("10.0.0.1", "10.0.0.1", "10.0.0.2"))
        )
        await first.write("/file", [b"content"])
        assert await second.read("/file") == b"content"
        assert await elsewhere.names("/") == []
        assert world.disk("10.0.0.1").contents.files() == {"/file": 7}

    world = World(0, DEFAULT, Conditions(), horizon=inf)
    world.run(main())


def test_a_world_may_end_while_its_disks_are_at_work() -> None:
    async def main() -> None:
        for number in range(3):
            process = world.process(f"node {number}", "10.0.0.1")
            disk = world.platform(process).disk
            process.spawn(disk.write(f"/{number}", [bytes(10_000)]), "writer")
            process.spawn(disk.read("/nothing"), "reader")
        await asyncio.sleep(0)

    world = World(0, DEFAULT, Conditions(), horizon=inf)
    world.run(main())
