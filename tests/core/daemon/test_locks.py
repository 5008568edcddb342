from __future__ import annotations

import threading
import time

import pytest

from banger.daemon.locks import RANKS, Locks
from banger.errors import CancelledError


def test_the_order_is_the_one_that_is_written_down() -> None:
    assert sorted(RANKS, key=RANKS.__getitem__) == ["vm", "pull", "publish", "reserve"]


def test_locks_may_be_taken_in_growing_rank() -> None:
    locks = Locks()
    with locks.hold("vm", "a"), locks.hold("pull", "image x"), locks.hold("reserve"):
        assert set(locks._table) == {("vm", "a"), ("pull", "image x"), ("reserve", "")}


@pytest.mark.parametrize(
    ("held", "wanted"),
    [("pull", "vm"), ("reserve", "vm"), ("reserve", "pull"), ("vm", "vm"), ("pull", "pull")],
)
def test_taking_one_against_the_order_is_a_bug_that_raises_at_once(held: str, wanted: str) -> None:
    locks = Locks()
    with locks.hold(held, "one"):
        with pytest.raises(RuntimeError, match=f"lock order: '{wanted}'"), locks.hold(wanted, "two"):
            pass
        assert (wanted, "two") not in locks._table
    with locks.hold("vm", "after"):
        pass


def test_ranks_are_counted_per_thread() -> None:
    locks = Locks()
    done: list[bool] = []

    def other() -> None:
        with locks.hold("vm", "b"):
            done.append(True)

    with locks.hold("reserve"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(5)
    assert done == [True]


def test_two_threads_never_hold_the_same_lock() -> None:
    locks = Locks()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with locks.hold("vm", "a"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1


def test_waiting_ends_when_the_operation_is_cancelled() -> None:
    locks = Locks()
    caught: list[str] = []

    def wait() -> None:
        try:
            with locks.hold("vm", "a", cancelled=lambda: True):
                caught.append("held")
        except CancelledError as error:
            caught.append(error.message)

    with locks.hold("vm", "a"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(5)
    assert caught == ["cancelled while waiting for the vm lock of a"]
    assert not locks._table


def test_lock_nobody_holds_or_waits_for_is_not_kept() -> None:
    locks = Locks()
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with locks.hold("vm", "a"):
            pass

    with locks.hold("vm", "a"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(5)
        while locks._table["vm", "a"].users < 2:
            time.sleep(0.001)
    thread.join(5)
    for number in range(100):
        with locks.hold("vm", str(number)):
            pass
    assert not locks._table


def test_lock_is_free_again_after_an_error_inside() -> None:
    locks = Locks()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locks.hold("vm", "a"):
            raise ZeroDivisionError
