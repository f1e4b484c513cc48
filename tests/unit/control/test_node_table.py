from __future__ import annotations

from asyncray.control.node_table import NodeRecord, NodeTable
from asyncray.control.placement import Demand, choose_node
from asyncray.ids import ActorId, NodeId

NODE = NodeId(b"n" * 16)
ACTOR = ActorId(b"a" * 16)
HOLDS_ONE = Demand({"CPU": 10_000}, {"CPU": 10_000})
HOLDS_NOTHING = Demand({"CPU": 10_000}, {})


def table_of_one(cpus: int = 1) -> tuple[NodeTable, NodeRecord]:
    table = NodeTable()
    total = {"CPU": cpus * 10_000}
    table.join(NodeRecord(NODE, "host:1", dict(total), dict(total)))
    record = table.get(NODE)
    assert record is not None
    return table, record


def test_what_is_reserved_is_not_given_twice() -> None:
    table, _ = table_of_one()
    table.reserve(NODE, ACTOR, HOLDS_ONE)
    assert choose_node(table.ranking, HOLDS_ONE) is None


def test_a_report_replaces_what_was_reserved() -> None:
    table, record = table_of_one(cpus=4)
    table.reserve(NODE, ACTOR, HOLDS_ONE)
    table.report(record, {"CPU": 30_000}, [])
    assert not record.reserved and not record.promised and not record.pressure
    table.arrived(NODE, ACTOR)
    assert not record.reserved, "the report already counts the actor: it is not reserved for again"


def test_an_actor_that_runs_keeps_only_what_it_holds_reserved() -> None:
    table, record = table_of_one()
    table.reserve(NODE, ACTOR, HOLDS_NOTHING)
    assert record.pressure == {"CPU": 10_000}
    table.arrived(NODE, ACTOR)
    assert record.pressure == {"CPU": 0} and not record.reserved
    table.reserve(NODE, ACTOR, HOLDS_ONE)
    table.arrived(NODE, ACTOR)
    assert record.promised == {"CPU": 10_000}
    table.unreserve(NODE, ACTOR)
    assert record.promised == {"CPU": 0}
    assert choose_node(table.ranking, HOLDS_ONE) == NODE


def test_a_heartbeat_leaves_reservations() -> None:
    table, record = table_of_one()
    table.reserve(NODE, ACTOR, HOLDS_ONE)
    table.report(record, {}, [])
    assert ACTOR in record.reserved


def test_a_dead_node_is_forgotten_by_reservations() -> None:
    table, _ = table_of_one()
    table.reserve(NODE, ACTOR, HOLDS_ONE)
    table.leave(NODE, "silent")
    assert table.unreserve(NODE, ACTOR) is None
    table.arrived(NODE, ACTOR)
    assert table.leave(NODE, "again") is None
    assert table.death_cause(NODE) == "silent"


def test_nodes_come_in_the_order_of_their_ids() -> None:
    table = NodeTable()
    for letter in b"cab":
        table.join(NodeRecord(NodeId(bytes([letter]) * 16), "host:1", {}, {}))
    assert [record.node_id[0] for record in table] == list(b"abc")
    table.leave(b"b" * 16, "gone")
    assert [record.node_id[0] for record in table] == list(b"ac")
    assert [record.node_id[0] for record in table.all()] == list(b"acb")
