"""Shadows are also scored and logged; whatever they do, answers stay the same and nobody waits for them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports MLflow

from featurestore import connect, models
from featurestore.errors import RequestError
from featurestore.models.prediction_log.log import flush_file
from featurestore.records.traffic_split import TrafficSplit
from featurestore.server.models import shadows
from featurestore.server.models.shadows import DROPPED, FAILED, SCORED, Shadows, ShadowTask
from tests import shop
from tests.cli.running import run
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.waiting import wait_until

pytestmark = [*VENDOR_WARNINGS]

SPLIT = TrafficSplit("m", {"a": 10_000}, ("b",), (), {"a": "1", "b": "2"})
RELEASED = threading.Event()
ENDLESS, RAISING, LEAVING = -1.0, -2.0, -3.0
"""Baskets for which the shadow of the server never ends, raises, and calls exit."""
WAIT = 60.0


class FakeArm(NamedTuple):
    """An alias, without a model."""

    alias: str


def task(rows: Sequence[int], request_id: str = "r", answered: str = "a", params: dict[str, Any] | None = None) -> ShadowTask:
    return ShadowTask(SPLIT, request_id, params, [{"k": row} for row in rows], range(len(rows)), [answered] * len(rows))


class Scored:
    """Shadows whose work a test watches."""

    def __init__(self, score: Callable[[Sequence[ShadowTask]], None]) -> None:
        self.batches: list[list[tuple[str, list[int]]]] = []
        self.counts: Counter[str] = Counter()
        self._score_tasks = score
        self.shadows = Shadows(lambda split: [FakeArm(alias) for alias in split.shadow], self._score, self._count, rest=0.0)  # type: ignore[misc]

    def _score(self, arm: object, tasks: Sequence[ShadowTask]) -> None:
        self._score_tasks(tasks)
        self.batches.append([(task.request_id, [row["k"] for row in task.rows]) for task in tasks])

    def _count(self, model: str, outcome: str, rows: int) -> None:
        self.counts[outcome] += rows


def test_what_waits_is_scored_together_and_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "QUEUED_ROWS", 6)
    begun, go_on = threading.Event(), threading.Event()

    def wait(tasks: Sequence[ShadowTask]) -> None:
        begun.set()
        assert go_on.wait(WAIT)

    scored = Scored(wait)
    scored.shadows.put(task([0], "first"))
    assert begun.wait(WAIT)
    # While the first is scored, nobody who puts waits.
    for number in range(4):
        scored.shadows.put(task([number, number], f"r{number}", params={"p": 1} if number == 2 else None))
    assert scored.counts == {DROPPED: 2}
    go_on.set()
    wait_until(lambda: scored.counts[SCORED] == 7)
    assert scored.batches == [[("first", [0])], [("r0", [0, 0]), ("r1", [1, 1])], [("r2", [2, 2])]]
    scored.shadows.close()


def test_large_requests_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "BATCH_ROWS", 3)
    scored = Scored(lambda tasks: None)
    scored.shadows.put(task(range(7)))
    wait_until(lambda: scored.counts[SCORED] == 7)
    assert [rows for batch in scored.batches for _, rows in batch] == [[0, 1, 2], [3, 4, 5], [6]]
    scored.shadows.close()


def test_rows_that_the_shadow_answered_are_not_scored_again() -> None:
    scored = Scored(lambda tasks: None)
    scored.shadows.put(ShadowTask(SPLIT, "r", None, [{"k": row} for row in range(4)], range(4), ["a", "b", "b", "a"]))
    wait_until(lambda: scored.counts[SCORED] == 2)
    assert scored.batches == [[("r", [0, 3])]]
    scored.shadows.put(task([9], answered="b"))
    scored.shadows.put(task([8]))
    wait_until(lambda: scored.counts[SCORED] == 3)
    assert scored.batches[1:] == [[("r", [8])]]
    scored.shadows.close()


def test_a_request_that_fails_takes_no_other_along() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail(tasks: Sequence[ShadowTask]) -> None:
        begun.set()
        assert go_on.wait(WAIT)
        if any(row["k"] == 13 for task in tasks for row in task.rows):
            raise KeyboardInterrupt("a model may do anything")

    scored = Scored(fail)
    scored.shadows.put(task([0], "first"))
    assert begun.wait(WAIT)
    for number in (1, 13, 2):
        scored.shadows.put(task([number], f"r{number}"))
    go_on.set()
    wait_until(lambda: scored.counts[SCORED] == 3)
    assert scored.counts == {SCORED: 3, FAILED: 1}
    scored.shadows.close()


class Follower(PythonModel):  # type: ignore[misc]
    """Predicts the basket, unless that says otherwise."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """The baskets."""
        baskets = list(model_input["basket"])
        if ENDLESS in baskets:
            RELEASED.wait()
        if RAISING in baskets:
            raise RuntimeError("secret of the model")
        if LEAVING in baskets:
            raise SystemExit(1)
        return baskets


class Leader(PythonModel):  # type: ignore[misc]
    """Predicts one."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """Ones."""
        return [1.0] * len(model_input)


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that logs, with a champion, and a challenger beside it."""
    with shop.open_shop(tmp_path_factory.mktemp("shop"), prediction_log="full") as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        for number, (alias, model) in enumerate({"champion": Leader(), "challenger": Follower()}.items(), 1):
            models.log_model(
                model, training_set=made, registered_model_name="leader", store=store, inputs=["basket"], pip_requirements=["mlflow"]
            )
            models.set_alias("leader", alias, number, approver="test", store=store)
        store.set_traffic("leader", {"champion": 100}, "challenger")
        with serve(store) as served:
            yield served
            RELEASED.set()


def ask(served: Served, *baskets: float) -> dict[str, Any]:
    records = [{"customer_id": key, "basket": basket} for key, basket in enumerate(baskets)]
    answer = served.http.post("/v1/models/leader/invocations", json={"dataframe_records": records})
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    assert body["predictions"] == [1.0] * len(baskets)
    assert set(body["answered_by"]) == {"champion"}
    return body


def counted(served: Served, outcome: str) -> float:
    lines = served.http.get("/metrics").text.splitlines()
    samples = [line for line in lines if line.startswith("featurestore_shadow_rows_total{") and f'outcome="{outcome}"' in line]
    return float(samples[0].split()[-1]) if samples else 0.0


@pytest.mark.slow
def test_a_shadow_is_logged_and_never_answers(shadowed: Served) -> None:
    ids = [ask(shadowed, 5.0, 7.0)["request_id"], ask(shadowed, 9.0)["request_id"]]
    wait_until(lambda: counted(shadowed, SCORED) == 3)
    flush_file(shadowed.store)
    rows = shadowed.store.catalog.load_table("inference.leader").scan().to_arrow().to_pylist()
    logged = sorted(
        (ids.index(row["request_id"]), row["row_number"], row["arm"], row["shadow"], row["version"], row["prediction"]) for row in rows
    )
    assert logged == [
        (0, 0, "challenger", True, "2", 5.0),
        (0, 0, "champion", False, "1", 1.0),
        (0, 1, "challenger", True, "2", 7.0),
        (0, 1, "champion", False, "1", 1.0),
        (1, 0, "challenger", True, "2", 9.0),
        (1, 0, "champion", False, "1", 1.0),
    ]
    assert {(row["customer_id"], row["basket"]) for row in rows} == {(0, 5.0), (1, 7.0), (0, 9.0)}
    labels = [{"request_id": ids[0], "row_number": 0, "value": 5.5}, {"request_id": ids[0], "row_number": 1, "value": 7.5}]
    here = shadowed.store.compare_traffic("leader", labels=labels, label="value")
    with connect(shadowed.url) as remote:
        assert remote.compare_traffic("leader", labels=labels, label="value") == here
        assert [arm.rows for arm in remote.compare_traffic("leader", since="2100-01-01").arms] == []
        with pytest.raises(RequestError, match="no column 'amount'"):
            remote.compare_traffic("leader", labels="SELECT 1 AS x, '' AS request_id FROM shop.orders", label="amount")
    assert [(arm.arm, arm.rows, arm.labeled, arm.metrics["mae"].value) for arm in here.arms] == [
        ("champion", 3, 2, 5.5),
        ("challenger", 3, 2, 0.5),
    ]
    shown = run("compare-traffic", "leader", "--url", shadowed.url)
    assert shown.exit_code == 0
    assert "challenger (shadow)" in shown.stdout
    answer = shadowed.http.post("/v1/models/leader/traffic-comparisons", json={"labels": {"table": "a.b", "sql": "SELECT 1"}, "label": "x"})
    error_of(answer, 422, "RequestError")
    error_of(shadowed.http.post("/v1/models/none/traffic-comparisons", json={}), 404, "NotFound")


@pytest.mark.slow
def test_a_shadow_that_fails_or_never_ends_changes_no_answer(shadowed: Served) -> None:
    before = counted(shadowed, FAILED)
    ask(shadowed, RAISING)
    wait_until(lambda: counted(shadowed, FAILED) == before + 1)
    ask(shadowed, LEAVING)
    wait_until(lambda: counted(shadowed, FAILED) == before + 2)
    ask(shadowed, ENDLESS)
    # It is never answered, so that any request that waited for it would end the test.
    for _ in range(20):
        ask(shadowed, 1.0)
    assert counted(shadowed, FAILED) == before + 2
