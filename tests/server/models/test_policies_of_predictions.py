"""Predictions by principals under policies: models get what an online lookup shows, the log has that, and replay computes with it."""

import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pandas as pd
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports MLflow

import mlflow

from featurestore import Mask, RowFilter, TablePolicy, models
from featurestore.access.policy_book import PolicyBook
from featurestore.errors import RequestError
from featurestore.models.prediction_log.log import flush_file
from tests import shop
from tests.server.access.test_credentials import wait_until
from tests.server.conftest import Served, serve
from tests.server.test_online_policies import unread

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

NAME = "telling"
CANARY = 80.0
"""What customer 1 spent, which is masked."""


class Telling(PythonModel):  # type: ignore[misc]
    """Predicts what it gets."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[str]:
        return [json.dumps([None if pd.isna(value) else value for value in row]) for row in model_input.values.tolist()]


class Models(NamedTuple):
    """A server of a model with a shadow, and the tokens of principals by name."""

    served: Served
    tokens: dict[str, str]

    def ask(self, name: str, path: str, body: Any, request_id: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[name]}", "X-Request-ID": request_id}
        return self.served.http.post(path, json=body, headers=headers)

    def predict(self, name: str, request_id: str, query: str = "", **more: Any) -> httpx.Response:
        records = [{"customer_id": number, "basket": 1.0, **more} for number in (1, 2, 9)]
        return self.ask(name, f"/v1/models/{NAME}/invocations{query}", {"dataframe_records": records}, request_id)

    def rows(self, request_id: str) -> list[dict[str, Any]]:
        flush_file(self.served.store)
        rows = self.served.store.catalog.load_table(f"inference.{NAME}").scan().to_arrow().to_pylist()
        return sorted((row for row in rows if row["request_id"] == request_id), key=lambda row: (row["shadow"], row["row_number"]))

    def rows_with_shadows(self, request_id: str) -> list[dict[str, Any]]:
        """Shadows are scored after the answer."""
        wait_until(lambda: len(self.rows(request_id)) == 6)
        return self.rows(request_id)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    with shop.open_shop(tmp_path_factory.mktemp("telling"), prediction_log="full") as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        for alias in ("champion", "challenger"):
            info = models.log_model(
                Telling(),
                training_set=made,
                registered_model_name=NAME,
                store=store,
                inputs=["spend_30d", "orders_7d", "basket_share"],
                pip_requirements=[],
            )
            mlflow.MlflowClient().set_registered_model_alias(NAME, alias, info.registered_model_version)
        store.set_traffic(NAME, {"champion": 100}, shadow="challenger")
        store.apply([POLICY])
        for group in ("analysts", "pii"):
            store.grant("READ_ONLINE", f"MODEL {NAME}", f"GROUP {group}")
        tokens = {
            name: store.create_key(name, [group]).token for name, group in (("masked", "analysts"), ("pii", "pii"), ("ungranted", "x"))
        }
        tokens["admin"] = store.create_key("admin", administrator=True).token
        with serve(store) as served:
            yield Models(served, tokens)


POLICY = TablePolicy(
    "customer_orders", masks={"spend_30d": Mask("1 + orders_7d", unless=["pii"])}, rows=RowFilter("customer_id = 1", unless=["pii"])
)
RAW = [[CANARY, 2, 0.0125], [20.0, 0, 0.05], [None, None, None]]
SHOWN = [[3.0, 2, 1 / 3], [None, None, None], [None, None, None]]


def told(answer: httpx.Response) -> list[list[Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(text) for text in answer.json()["predictions"]]


def test_models_get_what_a_lookup_shows_and_the_log_has_it(telling: Models, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name, expected in (("admin", RAW), ("pii", RAW), ("masked", SHOWN)):
        caplog.clear()
        for number, query in enumerate(("", "?version=1", "?alias=challenger")):
            answer = telling.predict(name, f"{name}-{number}", query)
            assert told(answer) == expected, (name, query)
            assert str(CANARY) not in f"{answer.text}{caplog.text}" or name != "masked"
        statuses = answer.json()["status"]["customer_orders"]
        assert statuses == ["PRESENT", "NOT_FOUND" if name == "masked" else "PRESENT", "NOT_FOUND"]
        inputs = [
            {"name": "customer_id", "shape": [3], "datatype": "INT64", "data": [1, 2, 9]},
            {"name": "basket", "shape": [3], "datatype": "FP64", "data": [1, 1, 1]},
        ]
        tensors = telling.ask(name, f"/v2/models/{NAME}/infer", {"inputs": inputs}, f"{name}-v2")
        assert [json.loads(text) for text in tensors.json()["outputs"][0]["data"]] == expected
        rows = telling.rows_with_shadows(f"{name}-0")
        assert [row["shadow"] for row in rows] == [False] * 3 + [True] * 3
        assert [[row["spend_30d"], row["orders_7d"], row["basket_share"]] for row in rows] == [*expected, *expected]
        assert all((row["policies_digest"] is not None) == (name == "masked") for row in rows)
    assert telling.predict("ungranted", "no").status_code == 403
    # What the caller sends is used, and derived features are computed from it and what is shown.
    assert told(telling.predict("masked", "sent", spend_30d=4.0))[0] == [4.0, 2, 0.25]


def test_replay_computes_with_the_recorded_policies(telling: Models) -> None:
    store = telling.served.store
    telling.predict("masked", "again", "?version=1")
    telling.predict("pii", "open", "?version=1")
    (first, second, _) = telling.rows("again")
    assert (first["spend_30d"], second["spend_30d"]) == (3.0, None)
    assert not any("policies" in note for note in store.replay("open").notes)
    for row in (0, 1, 2):
        outcome = store.replay("again", row)
        assert outcome.equal, outcome.why
        assert outcome.notes[0] == "policies were in force for whoever asked, and it was computed with these"
    store.apply([TablePolicy("customer_orders", masks={"orders_7d": Mask("7")})])
    outcome = store.replay("again")
    assert outcome.equal
    assert outcome.notes[0].endswith("; other policies are in force now")
    wait_until(lambda: told(telling.predict("pii", "later"))[0] == [CANARY, 7, 0.0125])
    store.apply([POLICY])
    wait_until(lambda: told(telling.predict("pii", "restored")) == RAW)
    assert store.replay("later", model=NAME).notes[0].endswith("other policies are in force now")


def test_without_the_registry_of_policies_nothing_is_predicted(telling: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyBook, "_fresh", unread)
    refused = telling.predict("masked", "unread")
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "NotReady")
    assert told(telling.predict("admin", "read")) == RAW


def test_a_store_of_a_principal_scores_no_batches(telling: Models) -> None:
    him = telling.served.store.as_principal("him", "analysts")
    with pytest.raises(RequestError, match="models need a FeatureStore"):
        models.score(f"models:/{NAME}/1", pd.DataFrame({"customer_id": [1]}), at="online", store=him)  # type: ignore[arg-type]
