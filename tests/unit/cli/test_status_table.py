"""A cluster's status as people see it."""

from __future__ import annotations

from typing import Any

import pytest

from asyncray.cli import output
from asyncray.cli.cluster_status import ClusterStatus
from asyncray.cli.output import show_bytes
from asyncray.cli.status_table import print_status

NODE: dict[str, Any] = {
    "node_id": "aaaaaaaabbbbbbbb",
    "address": "10.0.0.1:7001",
    "hostname": "one",
    "alive": True,
    "head": True,
    "pid": 1,
    "labels": {},
    "total": {"CPU": 4.0},
    "used": {"CPU": 1.5},
    "death_cause": "",
    "session_dir": "",
}
ANSWER: dict[str, Any] = {
    "workers": 4,
    "idle_workers": 3,
    "leases": 2,
    "queued_leases": 7,
    "object_store": {
        "capacity": 2_000_000_000,
        "used": 1_500_000,
        "objects": 12,
        "pins": 0,
        "overflow": 0,
        "spilled": 0,
        "spilled_objects": 0,
        "spill_files": 0,
        "restores": 0,
    },
}


def shown(capsys: pytest.CaptureFixture[str], **parts: Any) -> str:
    """What is printed, with runs of blanks as one."""
    empty: dict[str, Any] = {"resources": {"total": {}, "used": {}}, "nodes": [], "actors": [], "jobs": []}
    print_status(ClusterStatus("10.0.0.1:7000", **{**empty, **parts}))
    return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())


def actor(number: int, state: str = "ALIVE") -> dict[str, Any]:
    return {
        "actor_id": f"{number:032x}",
        "class": "Keeper",
        "name": f"[red]{number}",
        "state": state,
        "pid": 100 + number,
        "node_id": NODE["node_id"],
    }


def test_a_node_is_shown_with_what_it_uses(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, nodes=[{**NODE, **ANSWER}])
    assert "Cluster at 10.0.0.1:7000: 1 node\n" in text
    row = "aaaaaaaa one (head) 10.0.0.1:7001 1.5 of 4 4 (3 idle) 2 (7 queued) 1.5 MB of 2 GB, 12 objects alive"
    assert row in text


def test_what_a_node_has_on_disk_is_shown_if_it_has_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 400)
    store = {"spilled": 4_000_000, "spilled_objects": 3, "spill_files": 2, "restores": 5, "overflow": 7_000_000}
    text = shown(capsys, nodes=[{**NODE, **ANSWER, "object_store": {**ANSWER["object_store"], **store}}])
    assert "spilled: 4 MB, 3 objects in 2 files, 5 read back so far\n" in text
    assert "overflow on disk: 7 MB, since all memory was pinned\n" in text
    assert "disk" not in shown(capsys, nodes=[{**NODE, **ANSWER}])


def test_dead_and_silent_nodes_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    dead = {**NODE, "alive": False, "death_cause": "its stream ended"}
    silent = {**NODE, "no_answer": "it did not answer within 5 s"}
    text = shown(capsys, nodes=[dead, silent])
    assert "1 node, 1 dead" in text
    assert "dead: its stream ended" in text
    assert "it did not answer within 5 s" in text


def test_resources_are_in_units_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    resources = {"total": {"CPU": 8.0, "memory": 16e9, "[bold]": 1.0}, "used": {"CPU": 0.5, "memory": 1e6}}
    text = shown(capsys, resources=resources)
    assert "CPU 0.5 8\n" in text
    assert "memory 1 MB 16 GB\n" in text
    assert "[bold] 0 1\n" in text


def test_only_living_actors_are_shown_and_not_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, actors=[*(actor(number) for number in range(25)), actor(99, "DEAD")])
    assert "Actors: 25" in text
    assert "Keeper [red]3 ALIVE 103 aaaaaaaa" in text
    assert "... and 5 more" in text
    assert "[red]99" not in text
    assert "No actors (1 have ended)." in shown(capsys, actors=[actor(1, "DEAD")])


def test_jobs_are_shown_while_they_run(capsys: pytest.CaptureFixture[str]) -> None:
    job = {"job_id": "0a0b0c0d", "alive": True, "pid": 7, "started": 0.0, "entrypoint": "train.py --epochs 3"}
    assert "train.py --epochs 3" in shown(capsys, jobs=[job])
    assert "No jobs." in shown(capsys, jobs=[{**job, "alive": False}])


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (7.58e9, "7.58 GB"), (2e12, "2 TB")]
)
def test_bytes_have_units(amount: float, text: str) -> None:
    assert show_bytes(amount) == text
