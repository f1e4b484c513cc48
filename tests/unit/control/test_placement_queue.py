from __future__ import annotations

from asyncray.control.placement import Demand
from asyncray.control.placement_queue import PlacementQueue
from asyncray.ids import ActorId, NodeId

NODE = NodeId(b"n" * 16)
SMALL = Demand({"CPU": 1}, {})
LARGE = Demand({"CPU": 9}, {})


def actor(number: int) -> ActorId:
    return ActorId(bytes([number]) * 16)


def test_equal_demands_leave_in_the_order_they_came() -> None:
    queue = PlacementQueue()
    for number in range(3):
        queue.add(actor(number), SMALL)
    assert [actor_id for actor_id, _, _ in queue.drain(lambda demand: NODE)] == [actor(0), actor(1), actor(2)]
    assert not queue and queue.demands() == []


def test_a_demand_that_fits_nowhere_holds_up_no_other() -> None:
    queue = PlacementQueue()
    queue.add(actor(1), LARGE)
    queue.add(actor(2), SMALL)
    placed = list(queue.drain(lambda demand: NODE if demand == SMALL else None))
    assert placed == [(actor(2), NODE, SMALL)]
    assert actor(1) in queue and queue.waiting_for(LARGE) == [actor(1)]


def test_a_demand_that_finds_no_node_is_asked_for_once_a_pass() -> None:
    queue = PlacementQueue()
    asked: list[Demand] = []
    for number in range(100):
        queue.add(actor(number), LARGE)

    def choose(demand: Demand) -> NodeId | None:
        asked.append(demand)
        return None

    assert list(queue.drain(choose)) == []
    assert asked == [LARGE]


def test_who_leaves_the_queue_is_not_placed() -> None:
    queue = PlacementQueue()
    queue.add(actor(1), SMALL)
    queue.add(actor(2), SMALL)
    queue.discard(actor(1))
    queue.discard(actor(7))
    assert [actor_id for actor_id, _, _ in queue.drain(lambda demand: NODE)] == [actor(2)]
