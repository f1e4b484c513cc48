"""Rules for the numbers that the calls of a shared counter give, in whatever order they took effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncray.simulation.workload.expected import ActorModel, CountedCall

Sighting = tuple[CountedCall, int]
"""A number that a call gave."""


def violations(actor: ActorModel, sightings: Sequence[Sighting], *, driver_key: int, faults: bool) -> Iterator[str]:
    """What no counter could have given.

    With faults, a task's calls are made again when it runs again, and both times may be seen: then only the calls of
    the driver, which runs once, have an order.
    """
    by_number: dict[int, CountedCall] = {}
    for call, number in sightings:
        if by_number.setdefault(number, call) is not call:
            yield _sentence(actor, call, number, f"another number than call {by_number[number].key}")
    numbers: dict[CountedCall, int] = {}
    for call, number in sightings:
        if faults and call.body_key != driver_key:
            continue
        if numbers.setdefault(call, number) != number:
            yield _sentence(actor, call, number, f"{numbers[call]} as before")
    for call, number in numbers.items():
        position = actor.calls.index(call)
        earlier = [other for other in actor.calls[:position] if other.before(call)]
        later = [other for other in actor.calls[position + 1 :] if call.before(other)]
        for other in earlier:
            if numbers.get(other, 0) > number:
                yield _sentence(actor, call, number, f"more than {numbers[other]} of call {other.key} before it")
        # Of calls that a fault may have undone, only those count that have given a number.
        lowest = 1 + sum(other in numbers if faults else other.certain for other in earlier)
        if number < lowest:
            yield _sentence(actor, call, number, f"{lowest} at least")
        if any(faults and other.body_key != driver_key for other in actor.calls):
            continue
        highest = len(actor.calls) - (0 if faults else sum(other.certain for other in later))
        if number > highest:
            yield _sentence(actor, call, number, f"{highest} at most")


def _sentence(actor: ActorModel, call: CountedCall, number: int, expected: str) -> str:
    return f"step {call.key}, a call of the counter of actor {actor.key}: expected {expected}, got {number}"
