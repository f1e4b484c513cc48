"""What a simulated disk holds after the death of a process, and after a loss of power."""

from __future__ import annotations

import asyncio
import errno
import random

import pytest

from asyncray.simulation.disk import SimulatedDisk

from .disk_machine import BANDWIDTH, LATENCY, Machine, now, outcomes, write_synced


def test_what_a_dead_process_has_written_stays() -> None:
    async def main() -> bytes:
        await machine.spawn(machine.disk.write("/file", [b"content"]))
        machine.processes[0].kill("killed by SIGKILL")
        return await machine.disk.read("/file")

    machine = Machine()
    assert machine.run(main()) == b"content"


def test_a_write_in_whose_middle_the_process_dies_has_happened_in_part_wholly_or_not_at_all() -> None:
    async def main(machine: Machine) -> str:
        machine.spawn(machine.disk.append("/file", [b"0123", b"456789"]))
        await asyncio.sleep(0.1)
        machine.processes[0].kill("killed by SIGKILL")
        if not await machine.disk.names("/"):
            return "not at all"
        content = await machine.disk.read("/file")
        assert b"0123456789".startswith(content)
        return "wholly" if len(content) == 10 else "in part"

    assert set(outcomes(main)) == {"not at all", "in part", "wholly"}


def test_a_write_to_a_failing_disk_never_happens_wholly_whoever_dies() -> None:
    async def main(machine: Machine) -> None:
        machine.disk.fail()
        machine.spawn(machine.disk.append("/file", [b"0123456789"]))
        await asyncio.sleep(0.1)
        machine.processes[0].kill("killed by SIGKILL")
        assert machine.disk.contents.used < 10

    outcomes(main)


def test_a_rename_in_whose_middle_the_process_dies_has_happened_or_not() -> None:
    async def main(machine: Machine) -> list[str]:
        await write_synced(machine.disk, b"content")
        machine.spawn(machine.disk.rename("/file", "/new"))
        await asyncio.sleep(0.1)
        machine.processes[0].kill("killed by SIGKILL")
        return await machine.disk.names("/")

    found = outcomes(main)
    assert ["file"] in found
    assert ["new"] in found
    assert all(names in (["file"], ["new"]) for names in found)


def test_the_death_of_a_process_holds_up_nobody_and_what_it_waited_for_does_not_happen() -> None:
    async def main(machine: Machine) -> None:
        machine.spawn(machine.disk.write("/first", [bytes(400)]))
        await asyncio.sleep(0)
        machine.spawn(machine.disk.write("/second", [b"x"]))
        await asyncio.sleep(0)
        other = machine.spawn(machine.disk.write("/third", [b"x"]), process=1)
        await asyncio.sleep(1)
        machine.processes[0].kill("killed by SIGKILL")
        await other
        assert now() == pytest.approx(1 + LATENCY + 1 / BANDWIDTH)
        names = await machine.disk.names("/")
        assert "third" in names
        assert "second" not in names

    outcomes(main)


def test_a_process_that_dies_while_it_waits_does_not_disturb_the_operation_under_way() -> None:
    async def main() -> None:
        first = machine.spawn(machine.disk.write("/first", [bytes(100)]))
        await asyncio.sleep(0)
        machine.spawn(machine.disk.write("/second", [b"x"]), process=1)
        await asyncio.sleep(0.2)
        machine.processes[1].kill("killed by SIGKILL")
        await first
        assert now() == 1.5
        assert await machine.disk.names("/") == ["first"]

    machine = Machine()
    machine.run(main())


def test_a_frozen_process_does_not_hold_up_the_disk_and_finds_its_operation_done() -> None:
    async def main() -> None:
        frozen = machine.spawn(machine.disk.write("/first", [b"x"]))
        await asyncio.sleep(0)
        other = machine.spawn(machine.disk.write("/second", [b"x"]), process=1)
        await asyncio.sleep(0)
        machine.processes[0].freeze()
        await other
        assert not frozen.done()
        assert machine.disk.contents.files() == {"/first": 1, "/second": 1}
        machine.processes[0].thaw()
        await frozen

    machine = Machine()
    machine.run(main())


def test_an_error_that_a_dead_process_never_sees_is_no_failure_of_the_simulation() -> None:
    async def main() -> None:
        machine.loop.set_exception_handler(lambda loop, context: pytest.fail(str(context)))
        machine.spawn(machine.disk.read("/nothing"))
        await asyncio.sleep(0)
        machine.processes[0].freeze()
        await asyncio.sleep(10)
        machine.processes[0].kill("killed by SIGKILL")

    machine = Machine()
    machine.run(main())


def test_what_was_synced_survives_a_loss_of_power() -> None:
    async def main(machine: Machine) -> None:
        await write_synced(machine.disk, b"content")
        machine.disk.power_lost()
        assert await machine.disk.read("/file") == b"content"
        assert machine.disk.contents.used == len(b"content")

    outcomes(main)


def test_of_what_was_not_synced_a_prefix_survives() -> None:
    async def main(machine: Machine) -> bytes:
        await write_synced(machine.disk, b"synced ")
        await machine.disk.append("/file", [b"not "])
        await machine.disk.append("/file", [b"synced"])
        machine.disk.power_lost()
        return await machine.disk.read("/file")

    found = outcomes(main)
    assert all(b"synced not synced".startswith(content) and len(content) >= 7 for content in found)
    assert len(set(found)) > 5


def test_a_file_that_was_written_anew_and_not_synced_is_the_old_one_or_a_part_of_the_new_one() -> None:
    async def main(machine: Machine) -> bytes:
        await write_synced(machine.disk, b"old")
        await machine.disk.write("/file", [b"new"])
        machine.disk.power_lost()
        return await machine.disk.read("/file")

    assert set(outcomes(main)) == {b"old", b"", b"n", b"ne", b"new"}


def test_creations_renames_and_removals_may_be_undone_until_their_folder_is_synced() -> None:
    async def main(machine: Machine) -> list[str]:
        for name in ("a", "b"):
            await machine.disk.write(f"/{name}", [b"x"])
        await machine.disk.sync("/")
        await machine.disk.write("/c", [b"x"])
        await machine.disk.rename("/a", "/d")
        await machine.disk.remove("/b")
        machine.disk.power_lost()
        return await machine.disk.names("/")

    stages = [["a", "b"], ["a", "b", "c"], ["b", "c", "d"], ["c", "d"]]
    found = outcomes(main)
    assert all(stage in found for stage in stages)
    assert all(names in stages for names in found)


def test_a_synced_folder_keeps_its_names_but_not_the_contents() -> None:
    async def main(machine: Machine) -> int:
        await machine.disk.make_folder("/data/spilled")
        await machine.disk.write("/data/spilled/file", [b"0123456789"])
        await machine.disk.write("/data/spilled/gone", [b"x"])
        await machine.disk.remove("/data/spilled/gone")
        await machine.disk.sync("/data/spilled")
        machine.disk.power_lost()
        assert await machine.disk.names("/data/spilled") == ["file"]
        return len(await machine.disk.read("/data/spilled/file"))

    assert len(set(outcomes(main))) > 3


def test_removed_files_may_come_back_and_count_again() -> None:
    async def main(machine: Machine) -> int:
        await write_synced(machine.disk, b"content")
        await machine.disk.remove("/file")
        assert machine.disk.contents.used == 0
        machine.disk.power_lost()
        assert machine.disk.contents.used == sum(machine.disk.contents.files().values())
        return machine.disk.contents.used

    assert set(outcomes(main)) == {0, 7}


def test_a_careful_replacement_of_a_small_file_leaves_the_old_or_the_new_one_at_whatever_moment_power_fails() -> None:
    async def replace(disk: SimulatedDisk) -> None:
        await disk.write("/table.new", [b"the new", b" table"])
        await disk.sync("/table.new")
        await disk.rename("/table.new", "/table")
        await disk.sync("/table")

    async def main(machine: Machine) -> bytes:
        await machine.disk.write("/table", [b"the old table"])
        await machine.disk.sync("/table")
        replacement = machine.spawn(replace(machine.disk))
        await asyncio.sleep(random.Random(machine.seed).uniform(0, 3))
        finished = replacement.done()
        machine.processes[0].kill("its machine lost power")
        machine.disk.power_lost()
        table = await machine.disk.read("/table")
        assert not finished or table == b"the new table"
        return table

    assert set(outcomes(main)) == {b"the old table", b"the new table"}


def test_a_replacement_without_a_sync_may_leave_a_torn_file() -> None:
    async def main(machine: Machine) -> bytes:
        await machine.disk.write("/table", [b"old"])
        await machine.disk.sync("/table")
        await machine.disk.write("/table.new", [b"new"])
        await machine.disk.rename("/table.new", "/table")
        machine.disk.power_lost()
        return await machine.disk.read("/table")

    assert {b"old", b"n", b""} <= set(outcomes(main))


def test_an_operation_that_is_under_way_when_power_fails_gives_a_living_caller_eio() -> None:
    async def main(machine: Machine) -> None:
        tasks = [asyncio.create_task(machine.disk.append("/file", [b"x"])) for _ in range(2)]
        await asyncio.sleep(0.1)
        machine.disk.power_lost()
        for task in tasks:
            with pytest.raises(OSError) as caught:
                await task
            assert caught.value.errno == errno.EIO
        assert now() == 0.1
        await machine.disk.append("/file", [b"y"])

    outcomes(main)


def test_a_sync_in_whose_middle_power_fails_promises_nothing_and_tears_nothing() -> None:
    async def main(machine: Machine) -> bytes:
        await write_synced(machine.disk, b"synced ")
        await machine.disk.append("/file", [b"and more"])
        syncing = machine.spawn(machine.disk.sync("/file"))
        await asyncio.sleep(0.1)
        machine.processes[0].kill("its machine lost power")
        machine.disk.power_lost()
        assert not syncing.done()
        return await machine.disk.read("/file")

    found = outcomes(main)
    assert all(b"synced and more".startswith(content) and len(content) >= 7 for content in found)
    assert b"synced and more" in found
