"""`commits.retry`: attempts after commit conflicts, the waits between them, and the error in the end."""

import pytest

from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import commits


class Attempts:
    """An attempt that meets this many conflicts before it succeeds."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts = conflicts
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.conflicts:
            raise CommitConflict(f"conflict {self.calls}", applied=["view v"])
        return self.calls


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `retry` would have waited, in order."""
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def test_it_returns_the_result_of_the_first_attempt_without_a_conflict(waits: list[float]) -> None:
    attempt = Attempts(3)
    assert commits.retry("ns.t", attempt, undone="nothing was changed") == 4
    assert (attempt.calls, len(waits)) == (4, 3)
    assert commits.retry("ns.t", Attempts(0), undone="nothing was changed") == 1
    assert len(waits) == 3


def test_waits_are_random_and_bounded(waits: list[float]) -> None:
    commits.retry("ns.t", Attempts(40), undone="nothing was changed")
    assert len(set(waits)) == 40
    assert waits[0] <= commits.FIRST_WAIT_SECONDS
    assert 0.0 <= min(waits) < max(waits) <= commits.MAX_WAIT_SECONDS


def test_it_gives_up_and_says_what_was_not_done(waits: list[float]) -> None:
    attempt = Attempts(10)
    expected = r"^gave up after 3 commit conflicts on ns\.t; no row was added\. Retry when writers are idle\. The last one: conflict 3$"
    with pytest.raises(CommitConflict, match=expected) as caught:
        commits.retry("ns.t", attempt, undone="no row was added", attempts=3)
    assert attempt.calls == 3
    assert caught.value.details == {"table": "ns.t", "applied": ["view v"]}


def test_the_only_attempt_raises_its_own_conflict(waits: list[float]) -> None:
    with pytest.raises(CommitConflict, match=r"^conflict 1$"):
        commits.retry("ns.t", Attempts(10), undone="no row was added", attempts=1)
    assert waits == []


def test_recover_prepares_each_further_attempt_or_ends_it(waits: list[float]) -> None:
    conflicts: list[str] = []

    def recover(conflict: CommitConflict) -> None:
        conflicts.append(conflict.message)
        if len(conflicts) == 2:
            raise NotReady("the catalog is down")

    attempt = Attempts(10)
    with pytest.raises(NotReady, match="the catalog is down"):
        commits.retry("ns.t", attempt, undone="no row was added", recover=recover)
    assert (attempt.calls, conflicts) == (2, ["conflict 1", "conflict 2"])


def test_other_errors_are_not_retried(waits: list[float]) -> None:
    def attempt() -> int:
        raise NotReady("the catalog is down")

    with pytest.raises(NotReady, match="the catalog is down"):
        commits.retry("ns.t", attempt, undone="no row was added")
    assert waits == []
