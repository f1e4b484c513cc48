"""How the worker pool slows down when workers do not last."""

from __future__ import annotations

from asyncray.node.start_pause import StartPause


def test_at_first_nothing_waits() -> None:
    assert StartPause().until == 0


def test_the_pause_doubles_with_each_failure_up_to_a_limit() -> None:
    pause, now, lengths = StartPause(), 100.0, []
    for _ in range(12):
        length = pause.failed(now)
        lengths.append(round(length, 6))
        now = pause.until
    assert lengths == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]


def test_failures_of_workers_that_were_started_together_count_once() -> None:
    pause = StartPause()
    lengths = [pause.failed(100.0) for _ in range(50)]
    assert lengths == [0.1] + [0] * 49
    assert pause.until == 100.1


def test_a_success_makes_the_next_pause_short_again() -> None:
    pause = StartPause()
    for now in (1.0, 2.0, 3.0):
        pause.failed(now)
    pause.succeeded()
    pause.failed(10.0)
    assert pause.until == 10.1
