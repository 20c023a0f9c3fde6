"""Derived features that cannot be interrupted are computed in processes that can be killed, with the same values."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureService, FeatureStore
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.watch import time_limit
from featurestore.errors import OutOfResources, RequestError, Timeout
from featurestore.server import forks as forks_module
from featurestore.server.forks import Forks
from featurestore.server.workers.evaluations import MAX_IDLE, Evaluation, Evaluations
from featurestore.server.workers.origin import FORKS
from tests import shop
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.server.workers.test_workers import children, processor_seconds, until

ROOT = Path(__file__).parents[3]
LONG = "repeat(word, 1000000)"
WORDS = FeatureService(
    "words",
    [shop.customer_orders["spend_30d"]],
    request={"word": "varchar", "other": "varchar"},
    derived={"distance": "levenshtein(word, other)"},
)
STUCK = FeatureService(
    "stuck", [shop.customer_orders["spend_30d"]], request={"word": "varchar"}, derived={"distance": f"levenshtein({LONG}, {LONG} || 'x')"}
)
"""A single call takes hours, and the engine does not interrupt it."""
STUCK_CALL = "levenshtein(repeat(CAST(x AS VARCHAR), 1000000), repeat(CAST(x AS VARCHAR), 1000001))"
LOUDER = FeatureService(
    "louder", [shop.customer_orders["spend_30d"]], request={"word": "varchar"}, derived={"loud": "upper(trim(word || ' '))"}
)


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shop with services of such features, whose server allows three seconds per lookup, and four at a time."""
    with shop.open_shop(tmp_path_factory.mktemp("shop"), query_seconds=3, lookup_workers=4) as store:
        store.apply([*shop.DEFINITIONS, WORDS, STUCK, LOUDER])
        # The fork server imports for as long as that, before its first fork.
        first = Evaluations(store.settings)
        assert first.evaluate(["1"], {}) == [[1]]
        first.close()
        with serve(store) as served:
            yield served


def look_up(served: Served, service: str, **request: Any) -> Any:
    return served.http.post(f"/v1/services/{service}/online", json={"entities": [{"customer_id": 1}], "request": [request]})


def evaluating() -> list[int]:
    return [] if FORKS.process is None else children(FORKS.process.pid)


@pytest.mark.slow
def test_an_evaluation_that_cannot_be_interrupted_frees_its_slot(hurried: Served) -> None:
    before = set(evaluating())
    many = hurried.store.settings.lookup_workers + 2
    with ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(lambda _: look_up(hurried, "stuck", word="a"), range(many)))
    # Those without a slot wait as long as the others run.
    kinds = [answer.json()["error"]["type"] for answer in answers]
    assert kinds.count("Timeout") >= many - 2
    for answer, kind in zip(answers, kinds, strict=True):
        assert ("query_seconds" if kind == "Timeout" else "no free slot") in error_of(answer, 503, kind)["message"]
    assert set(kinds) <= {"Timeout", "Busy"}
    until(lambda: len(set(evaluating()) - before) <= MAX_IDLE)
    with ThreadPoolExecutor(many) as pool:
        for answer in pool.map(lambda index: look_up(hurried, "words", word="a" * index, other=""), range(many)):
            assert answer.is_success, answer.text
    until(lambda: len(set(evaluating()) - before) <= MAX_IDLE)


@pytest.mark.slow
def test_values_are_those_of_the_embedded_store(hurried: Served) -> None:
    entities = [{"customer_id": 1}, {"customer_id": 2}, {"customer_id": 99}]
    request: list[dict[str, Any]] = [{"word": "kitten", "other": "sitting"}, {"word": None, "other": "x"}, {"word": "", "other": "ü"}]
    answer = hurried.http.post("/v1/services/words/online", json={"entities": entities, "request": request}).json()
    here = hurried.store.online_features("words", entities, request)
    assert answer["rows"] == [list(row) for row in here.rows]
    assert [row[-1] for row in answer["rows"]] == [3, None, 2]
    assert answer["derived_types"] == list(here.derived_types) == ["BIGINT"]


@pytest.fixture
def evaluations(tmp_path: Path) -> Iterator[Evaluations]:
    with FeatureStore(home=tmp_path) as store:
        made = Evaluations(store.settings)
        yield made
        made.close()


GIVEN: dict[str, tuple[str, list[Any]]] = {
    "t": ("TIMESTAMP WITH TIME ZONE", [datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), None]),
    "n": ("DECIMAL(38,4)", [Decimal("12345678901234567890123456789012.3456"), Decimal("-0.0001")]),
    "l": ("BIGINT[]", [[1, None, 2**62], []]),
    "b": ("BLOB", [b"\x00\xff", None]),
    "d": ("DOUBLE", [-0.0, float("inf")]),
}
EXPRESSIONS = ['"t"', '"n"', '"l"', '"b"', '"d"', 'repeat(CAST("n" AS VARCHAR), 2)', '"n" * 2', "year(t)"]


@pytest.mark.slow
def test_values_of_all_types_come_back_as_they_are(evaluations: Evaluations) -> None:
    evaluator = Evaluator("1GB")
    assert repr(evaluations.evaluate(EXPRESSIONS, GIVEN)) == repr(evaluator.evaluate(EXPRESSIONS, GIVEN))
    assert evaluations.types_of(EXPRESSIONS, GIVEN) == evaluator.types_of(EXPRESSIONS, GIVEN)
    for process in (evaluations, evaluator):
        with pytest.raises(RequestError, match="fails on these data") as caught:
            process.evaluate(["CAST(repeat('x', 3) AS BIGINT)"], {})
        assert "Could not convert" in caught.value.details["reason"]
    evaluator.close()


@pytest.mark.slow
def test_a_process_that_crashes_is_replaced(evaluations: Evaluations) -> None:
    before = set(evaluating())
    assert evaluations.evaluate(["1"], {}) == [[1]]
    (idle,) = set(evaluating()) - before
    os.kill(idle, signal.SIGKILL)
    # The last of its threads closes its socket.
    until(lambda: all(process.ended for process in evaluations._idle))
    assert evaluations.evaluate(["2"], {}) == [[2]]
    (other,) = set(evaluating()) - before
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(evaluations.evaluate, [STUCK_CALL], {"x": ("BIGINT", [1])})
        until(lambda: processor_seconds(other) > 0.5)
        os.kill(other, signal.SIGKILL)
        with pytest.raises(OutOfResources, match="crashed"):
            working.result()
    assert evaluations.evaluate(["3"], {}) == [[3]]


@pytest.mark.slow
def test_a_process_that_is_stopped_ends_at_the_deadline(evaluations: Evaluations) -> None:
    before = set(evaluating())
    assert evaluations.evaluate(["1"], {}) == [[1]]
    (idle,) = set(evaluating()) - before
    os.kill(idle, signal.SIGSTOP)
    with time_limit(0.5, Timeout("too late")), pytest.raises(Timeout, match="too late"):
        evaluations.evaluate(["1"], {})
    assert evaluations.evaluate(["2"], {}) == [[2]]
    assert idle not in evaluating()


@pytest.mark.slow
def test_an_idle_process_that_ends_before_it_is_asked_is_replaced(evaluations: Evaluations, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(evaluating())
    assert evaluations.evaluate(["1"], {}) == [[1]]
    (idle,) = set(evaluating()) - before
    monkeypatch.setattr(Evaluation, "ended", False)
    os.kill(idle, signal.SIGKILL)
    until(lambda: idle not in evaluating())
    assert evaluations.evaluate(["2"], {}) == [[2]]


def test_a_stopped_fork_server_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks_module, "FORK_SECONDS", 0.5)
    forks = Forks("tests.server.workers.light_forks", "waits", lambda: {**os.environ, "PYTHONPATH": str(ROOT)})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        forks.fork(b"wait", [theirs.fileno()])
        assert forks.process is not None
        stopped = forks.process.pid
        os.kill(stopped, signal.SIGSTOP)
        other = forks.fork(b"wait", [theirs.fileno()])
        assert forks.process.pid != stopped
        assert other in children(forks.process.pid)
    forks.close()


@pytest.mark.slow
def test_the_size_of_a_result_is_limited(evaluations: Evaluations) -> None:
    with pytest.raises(OutOfResources, match="64 MiB"):
        evaluations.evaluate([f"CAST({number} AS VARCHAR) || repeat('x', 1000000)" for number in range(70)], {})
    assert evaluations.evaluate(["1"], {}) == [[1]]


@pytest.mark.slow
def test_linear_functions_of_large_values_run_in_a_process_that_can_be_killed(hurried: Served) -> None:
    for pid in evaluating():
        # One that was told to end before may be gone meanwhile.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not evaluating())
    assert look_up(hurried, "louder", word="a").json()["rows"][0][-1] == "A"
    assert not evaluating()
    assert look_up(hurried, "louder", word="a" * 100_000).json()["rows"][0][-1] == "A" * 100_000
    assert len(evaluating()) == 1


@pytest.mark.slow
def test_a_process_ends_with_its_server_whatever_it_computes(evaluations: Evaluations) -> None:
    before = set(evaluating())
    evaluation = evaluations._begin()
    asking = threading.Thread(target=lambda: evaluation._connection.send(("evaluate", ([STUCK_CALL], {"x": ("BIGINT", [1])}))))
    asking.start()
    asking.join()
    (pid,) = set(evaluating()) - before
    until(lambda: processor_seconds(pid) > 0.5)
    evaluation.close()
    until(lambda: pid not in evaluating())
