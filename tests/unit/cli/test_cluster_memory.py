"""What nodes and processes report of the same objects, put together and arranged."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from asyncray.cli import output
from asyncray.cli.cluster_memory import ClusterMemory, arrange, join_reports
from asyncray.cli.memory_table import print_memory
from asyncray.proto import NodeInfo, NodeMemory, ProcessMemory

NODES = [bytes([number]) * 16 for number in (1, 2, 3)]
DRIVER, WORKER, BLOCKED, GONE = b"d" * 16, b"w" * 16, b"b" * 16, b"g" * 16
OBJECTS = [bytes([number]) * 20 for number in range(5)]


def process(process_id: bytes, pid: int, name: str, rows: list[Any] | None, left_out: int = 0) -> ProcessMemory:
    role = "driver" if process_id == DRIVER else "worker"
    packed = msgpack.packb(rows or [])
    return ProcessMemory(process_id, pid, role, name, rows is not None, packed, left_out)


def node(number: int) -> NodeInfo:
    return NodeInfo(node_id=NODES[number], hostname=f"host-{number}", address=f"10.0.0.{number}:1", alive=True)


def cluster() -> ClusterMemory:
    """The driver's object is copied to the other node; another is spilled, and held by one that does not answer."""
    first = NodeMemory(
        node_id=NODES[0],
        capacity=1000,
        used=600,
        pinned=100,
        objects=2,
        spilled=50,
        spilled_objects=1,
        fragmentation=0.25,
        stored=msgpack.packb(
            [[OBJECTS[0], DRIVER, 500, True, 1, False, 1], [OBJECTS[1], BLOCKED, 50, True, 0, True, 0]]
        ),
        processes=[
            process(
                DRIVER,
                100,
                "main.py",
                [
                    [OBJECTS[0], DRIVER, 500, "store", ["USED_BY_PENDING_TASK", "LOCAL_REFERENCE"], "main.py:7 in f()"],
                    [OBJECTS[2], DRIVER, 10, "process", ["LOCAL_REFERENCE"], ""],
                ],
                left_out=3,
            ),
            process(BLOCKED, 101, "Slow", None),
        ],
    )
    second = NodeMemory(
        node_id=NODES[1],
        stored=msgpack.packb([[OBJECTS[0], DRIVER, 500, False, 2, False, 1]]),
        left_out=4,
        processes=[
            process(
                WORKER,
                7,
                "load",
                [
                    [OBJECTS[0], DRIVER, 500, "store", ["PINNED_IN_MEMORY"], ""],
                    [OBJECTS[3], GONE, 0, "pending", ["BORROWED"], ""],
                    [OBJECTS[2], DRIVER, 0, "pending", ["BORROWED"], ""],
                ],
            )
        ],
    )
    return join_reports("10.0.0.1:1", [(node(0), first), (node(1), second), (node(2), "it did not answer")])


def test_each_holder_of_an_object_sees_all_its_copies() -> None:
    rows = [row for row in cluster().references if row["object_id"] == OBJECTS[0].hex()]
    assert [row["holder"]["pid"] for row in rows] == [100, 7]
    for row in rows:
        assert [(copy["node_id"], copy["where"]) for copy in row["copies"]] == [
            (NODES[0].hex(), ["arena primary"]),
            (NODES[1].hex(), ["overflow copy"]),
        ]
        assert (row["owner"]["pid"], row["owner"]["node_id"], row["owner"]["name"]) == (100, NODES[0].hex(), "main.py")


def test_what_nobody_answers_for_is_shown_nevertheless() -> None:
    [row] = [row for row in cluster().references if row["holder"] is None]
    assert (row["object_id"], row["size"], row["copies"][0]["where"]) == (OBJECTS[1].hex(), 50, ["spilled"])
    assert row["owner"]["pid"] == 101
    assert [silent["pid"] for silent in cluster().silent] == [101]


def test_a_borrower_that_has_not_read_an_object_learns_from_its_owner_what_it_is() -> None:
    rows = [row for row in cluster().references if row["object_id"] == OBJECTS[2].hex()]
    assert [(row["holder"]["pid"], row["state"], row["size"]) for row in rows] == [
        (100, "process", 10),
        (7, "process", 10),
    ]


def test_an_owner_that_is_gone_is_known_by_its_id_only() -> None:
    [row] = [row for row in cluster().references if row["object_id"] == OBJECTS[3].hex()]
    assert row["owner"] == {"process_id": GONE.hex(), "pid": 0, "node_id": "", "role": "", "name": ""}


def test_nodes_are_summed_up_and_one_that_does_not_answer_says_why() -> None:
    found = cluster()
    assert [entry.get("no_answer") for entry in found.nodes] == [None, None, "it did not answer"]
    assert found.nodes[0]["fragmentation"] == 0.25
    assert found.left_out == 7


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        ("size", [(500, 7), (500, 100), (50, 0), (10, 7), (10, 100), (0, 7)]),
        ("pid", [(50, 0), (500, 7), (10, 7), (0, 7), (500, 100), (10, 100)]),
        ("type", [(50, 0), (10, 7), (0, 7), (10, 100), (500, 7), (500, 100)]),
    ],
)
def test_rows_are_sorted_as_asked(sort_by: str, expected: list[tuple[int, int]]) -> None:
    found = cluster()
    arrange(found, sort_by, "none")
    assert [(row["size"], row["holder"]["pid"] if row["holder"] else 0) for row in found.references] == expected
    assert found.totals == {}


def test_groups_are_added_up() -> None:
    found = cluster()
    arrange(found, "size", "node")
    assert found.totals == {
        f"node {NODES[0].hex()[:8]}": {"references": 3, "bytes": 560},
        f"node {NODES[1].hex()[:8]}": {"references": 3, "bytes": 510},
    }
    found = cluster()
    arrange(found, "size", "call-site")
    assert found.totals["main.py:7 in f()"] == {"references": 1, "bytes": 500}


@pytest.mark.parametrize("group_by", ["node", "call-site", "none"])
def test_the_table_names_objects_holders_and_what_is_not_known(
    group_by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 400)
    found = cluster()
    arrange(found, "size", group_by)
    print_memory(found, group_by, limit=4)
    printed = " ".join(capsys.readouterr().out.split())
    for text in (OBJECTS[0].hex(), "overflow copy on 02020202", "pid 7 on 02020202: load", "USED_BY_PENDING_TASK"):
        assert text in printed
    assert "pid 101 (worker Slow, node 01010101) does not answer" in printed
    assert "and 2 more: --limit" in printed
    assert "7 small objects were left out" in printed
    assert "25.0 %" in printed
