"""Many callers of one key share one call, its result or its error; later callers make another."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from featurestore.values.single_flight import SingleFlight

CALLERS = 8


class Slow:
    """Counts its calls, and ends them when the test says so."""

    def __init__(self, result: Callable[[], int]) -> None:
        self.calls = 0
        self.began, self.may_end = threading.Event(), threading.Event()
        self._result = result

    def __call__(self) -> int:
        self.calls += 1
        self.began.set()
        assert self.may_end.wait(30)
        return self._result()


def call_together(flights: SingleFlight[int], slow: Slow) -> list[int | Exception]:
    """The results of one call and of CALLERS that come while it is under way."""
    arrived = threading.Barrier(CALLERS + 1)

    def late() -> int:
        arrived.wait(30)
        return flights.call("key", slow)

    with ThreadPoolExecutor(CALLERS + 1) as threads:
        calls = [threads.submit(flights.call, "key", slow)]
        assert slow.began.wait(30)
        calls += [threads.submit(late) for _ in range(CALLERS)]
        arrived.wait(30)
        # Another key does not wait.
        assert flights.call("other", lambda: -1) == -1
        slow.may_end.set()
        return [error if isinstance(error := call.exception(30), Exception) else call.result() for call in calls]


def test_callers_share_the_result_of_the_call_under_way() -> None:
    flights, slow = SingleFlight[int](), Slow(lambda: 7)
    assert call_together(flights, slow) == [7] * (CALLERS + 1)
    # Those that came after its end made calls of their own, which ended at once.
    before = slow.calls
    assert before <= CALLERS + 1
    assert flights.call("key", slow) == 7
    assert slow.calls == before + 1


def test_nobody_waits_for_ever() -> None:
    flights, hanging = SingleFlight[int](wait_seconds=0.01), Slow(lambda: 7)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(flights.call, "key", hanging)
        assert hanging.began.wait(30)
        assert flights.call("key", lambda: 8) == 8
        hanging.may_end.set()
        assert first.result(30) == 7


def test_callers_share_its_error_and_the_next_call_is_made_again() -> None:
    errors = iter([ValueError("down")])

    def fail_once() -> int:
        for error in errors:
            raise error
        return 7

    flights, slow = SingleFlight[int](), Slow(fail_once)
    first, *others = call_together(flights, slow)
    assert isinstance(first, ValueError)
    assert all(other is first or other == 7 for other in others)
    with pytest.raises(StopIteration):
        next(errors)
    assert flights.call("key", slow) == 7
