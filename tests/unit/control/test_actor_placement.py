from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.control.node_ranking import NodeRanking
from asyncray.control.node_table import NodeRecord
from asyncray.control.placement import Demand, choose_node, critical_utilisation, describe_shortage, is_feasible
from asyncray.ids import NodeId
from asyncray.resources import Resources, give, to_units

DEFAULT = Demand(to_units({"CPU": 1}), {})


def node(number: int, total: dict[str, float], **available: float) -> NodeRecord:
    units = to_units(total)
    return NodeRecord(
        NodeId(bytes([number]) * 16), f"host:{number}", units, {**units, **to_units_with_zeros(available)}
    )


def to_units_with_zeros(amounts: dict[str, float]) -> Resources:
    return {name: to_units({name: amount}).get(name, 0) for name, amount in amounts.items()}


def chosen_of(nodes: list[NodeRecord], demand: Demand) -> NodeId | None:
    ranking: NodeRanking[NodeRecord] = NodeRanking()
    for each in nodes:
        ranking.changed(each)
    return choose_node(ranking, demand)


def test_the_first_node_below_half_is_packed() -> None:
    nodes = [node(1, {"CPU": 4}, CPU=1), node(2, {"CPU": 4}, CPU=3), node(3, {"CPU": 4})]
    assert chosen_of(nodes, DEFAULT) == nodes[1].node_id


def test_past_half_the_least_utilised_node_is_taken() -> None:
    nodes = [node(1, {"CPU": 4}, CPU=0), node(2, {"CPU": 4}, CPU=2), node(3, {"CPU": 4}, CPU=1)]
    assert chosen_of(nodes, DEFAULT) == nodes[1].node_id


def test_the_most_used_resource_counts() -> None:
    nodes = [node(1, {"CPU": 8, "GPU": 1}, GPU=0), node(2, {"CPU": 8}, CPU=5)]
    assert chosen_of(nodes, DEFAULT) == nodes[1].node_id


def test_an_actor_that_holds_nothing_goes_to_a_busy_node_too() -> None:
    assert chosen_of([node(1, {"CPU": 2}, CPU=0)], DEFAULT) is not None


def test_an_actor_that_holds_nothing_needs_a_node_that_has_its_placement_in_total() -> None:
    assert chosen_of([node(1, {"memory": 100})], DEFAULT) is None


def test_an_actor_waits_for_what_it_holds() -> None:
    demand = Demand(to_units({"CPU": 1, "GPU": 1}), to_units({"GPU": 1}))
    assert chosen_of([node(1, {"CPU": 2, "GPU": 1}, GPU=0)], demand) is None
    assert chosen_of([node(1, {"CPU": 2, "GPU": 1})], demand) is not None


def test_what_is_promised_to_actors_on_their_way_is_taken() -> None:
    only = node(1, {"CPU": 2})
    demand = Demand(to_units({"CPU": 1}), to_units({"CPU": 1}))
    for _ in range(2):
        assert chosen_of([only], demand) is not None
        give(only.promised, demand.resources)
    assert chosen_of([only], demand) is None


def test_a_burst_of_default_actors_spreads_by_what_they_take_to_be_placed() -> None:
    nodes = [node(1, {"CPU": 2}), node(2, {"CPU": 2})]
    chosen = []
    for _ in range(4):
        node_id = chosen_of(nodes, DEFAULT)
        chosen.append(node_id)
        give(next(each for each in nodes if each.node_id == node_id).pressure, DEFAULT.peak)
    assert sorted(chosen) == sorted([nodes[0].node_id, nodes[1].node_id] * 2)


def test_a_shortage_names_the_missing_resource() -> None:
    nodes = [node(1, {"CPU": 4}), node(2, {"CPU": 2, "GPU": 1})]
    demand = Demand(to_units({"CPU": 1, "GPU": 2}), to_units({"GPU": 2}))
    assert not is_feasible(nodes, demand)
    assert describe_shortage(nodes, demand) == "no node has enough GPU (needs 2, the largest node has 1)"


def test_a_shortage_of_a_combination_says_so() -> None:
    nodes = [node(1, {"CPU": 4}), node(2, {"CPU": 2, "GPU": 1})]
    demand = Demand(to_units({"CPU": 4, "GPU": 1}), {})
    assert not is_feasible(nodes, demand)
    assert describe_shortage(nodes, demand) == "no single node has all of 4 CPU, 1 GPU"


def test_a_cluster_without_nodes_is_named_as_such() -> None:
    assert describe_shortage([], DEFAULT) == "the cluster has no nodes"


amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "memory"]), st.integers(0, 8), max_size=3)


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeRecord]:
    nodes = []
    for number in range(draw(st.integers(0, 6))):
        record = node(number, {})
        record.total = draw(amounts)
        record.available = {name: draw(st.integers(0, amount)) for name, amount in record.total.items()}
        nodes.append(record)
    return nodes


@given(clusters(), amounts, amounts)
def test_the_choice_can_take_the_actor_and_none_is_better(
    nodes: list[NodeRecord], placement: Resources, resources: Resources
) -> None:
    demand = Demand(placement, resources)
    able = [
        each
        for each in nodes
        if all(each.total.get(name, 0) >= amount for name, amount in demand.peak.items())
        and all(each.available.get(name, 0) >= amount for name, amount in resources.items())
    ]
    node_id = chosen_of(nodes, demand)
    if not able:
        assert node_id is None
        return
    chosen = next(each for each in able if each.node_id == node_id)
    packed = [each for each in able if critical_utilisation(each) < 0.5]
    assert chosen is (packed[0] if packed else min(able, key=critical_utilisation))
    assert is_feasible(nodes, demand)


def test_equal_demands_are_one_key() -> None:
    one = Demand({"CPU": 1, "GPU": 2}, {"GPU": 2})
    assert {one: 1}[Demand({"GPU": 2, "CPU": 1}, {"GPU": 2})] == 1
    assert one != Demand({"CPU": 1, "GPU": 2}, {})
