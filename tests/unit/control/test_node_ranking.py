from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.control.node_table import NodeRecord, NodeTable
from asyncray.control.placement import PACK_BELOW, Demand, choose_node, critical_utilisation
from asyncray.ids import ActorId, NodeId

DEMANDS = [
    Demand({"CPU": 1}, {}),
    Demand({"CPU": 1}, {"CPU": 1}),
    Demand({"CPU": 2, "GPU": 1}, {"GPU": 1}),
    Demand({"disk": 1}, {"disk": 1}),
]
NODES = st.integers(0, 9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), NODES, st.tuples(st.integers(1, 8), st.integers(0, 2), st.integers(0, 1))),
        st.tuples(st.just("leave"), NODES, st.none()),
        st.tuples(st.just("report"), NODES, st.integers(0, 8)),
        st.tuples(st.just("place"), st.sampled_from(DEMANDS), st.none()),
        st.tuples(st.just("arrive"), st.integers(0, 20), st.none()),
        st.tuples(st.just("refuse"), st.integers(0, 20), st.none()),
    ),
    max_size=60,
)


def scan(table: NodeTable, demand: Demand) -> NodeId | None:
    """The policy as it is said, over all nodes in the order of their ids."""
    able = [
        record
        for record in table
        if all(record.total.get(name, 0) >= amount for name, amount in demand.peak.items())
        and all(
            record.available.get(name, 0) - record.promised.get(name, 0) >= amount
            for name, amount in demand.resources.items()
        )
    ]
    for record in able:
        if critical_utilisation(record) < PACK_BELOW:
            return record.node_id
    return min(able, key=critical_utilisation).node_id if able else None


@given(STEPS)
def test_the_choice_is_that_of_a_scan_of_all_nodes_whatever_has_happened(
    steps: list[tuple[str, object, object]],
) -> None:
    table, joined = NodeTable(), 0
    members: dict[int, NodeRecord] = {}
    actors: list[tuple[NodeId, ActorId]] = []
    for step, what, how in steps:
        match step, what, how:
            case "join", int(number), (cpus, gpus, disks) if number not in members:
                joined += 1  # a node id lives once: in any order of ids
                total = {"CPU": cpus, "GPU": gpus, "disk": disks}
                node_id = NodeId(bytes([number]) * 15 + bytes([joined]))
                members[number] = NodeRecord(node_id, "host:1", total, dict(total))
                table.join(members[number])
            case "leave", int(number), _ if number in members:
                table.leave(members.pop(number).node_id, "it has left")
            case "report", int(number), int(free) if number in members:
                record = members[number]
                table.report(record, {"CPU": min(free, record.total["CPU"])}, [])
            case "place", Demand() as demand, _:
                chosen = choose_node(table.ranking, demand)
                assert chosen == scan(table, demand)
                if chosen is not None:
                    actors.append((chosen, ActorId.random()))
                    table.reserve(*actors[-1], demand)
            case "arrive", int(number), _ if number < len(actors):
                table.arrived(*actors[number])
            case "refuse", int(number), _ if number < len(actors):
                table.unreserve(*actors[number])
        for demand in DEMANDS:
            assert choose_node(table.ranking, demand) == scan(table, demand)


def test_who_is_preferred_changes_with_what_is_used() -> None:
    table = NodeTable()
    records = [NodeRecord(NodeId(bytes([number]) * 16), "host:1", {"CPU": 4}, {"CPU": 4}) for number in range(3)]
    for record in records:
        table.join(record)
    assert list(table.ranking) == records
    table.report(records[0], {"CPU": 0}, [])
    table.report(records[1], {"CPU": 1}, [])
    assert list(table.ranking) == [records[2], records[1], records[0]]
    table.leave(records[2].node_id, "it has left")
    assert list(table.ranking) == [records[1], records[0]]
