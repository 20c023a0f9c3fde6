"""What is done through MLflow itself is recorded as soon as MLflow's webhook says so, and nobody else can make the server look."""

import json
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, Settings, models
from featurestore.models.serving import alias_watch
from featurestore.records import model_events
from featurestore.server.models.mlflow_webhooks import MOST_BYTES, PATH
from tests import shop
from tests.models.serving.test_alias_watch import wait_until
from tests.server.conftest import Served, serve
from tests.server.models.mlflow_process import mlflow_server
from tests.server.test_errors import error_of

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

SECRET = "the-secret-of-the-webhook"
EVENTS = ["registered_model.created", "model_version.created", "model_version_alias.created", "model_version_alias.deleted"]
RECORD = {"customer_id": 1, "basket": 40.0}
LOGGER = "featurestore.server.models.mlflow_webhooks"


@pytest.fixture(autouse=True)
def _own_mlflow() -> Iterator[None]:
    """Each store has its own MLflow, and other tests go on with theirs."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(None)
    yield
    mlflow.set_tracking_uri(before)


def log_versions(store: FeatureStore, *values: float) -> None:
    """Versions of the model spender, each of which predicts a value; the first is the champion."""
    made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
    rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
    for value in values:
        tree = DecisionTreeRegressor().fit(rows, [value] * 3)
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
    models.set_alias("spender", "champion", 1, store=store)


def newest(store: FeatureStore) -> tuple[Any, ...]:
    """The newest event, read from the catalog alone."""
    event = model_events.list_events(store._runtime)[0]
    return event["event"], event["version"], event["alias"], event["origin"]


def test_what_mlflow_says_is_recorded_without_anybody_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow is not asked for aliases by itself: what is noticed is what it says.
    monkeypatch.setattr(alias_watch, "ASK_SECONDS", 3600.0)
    with (
        mlflow_server(tmp_path) as address,
        shop.open_shop(tmp_path / "home", mlflow_tracking_uri=address, mlflow_webhook_secret=SECRET, token="s3cret-token") as store,
    ):
        log_versions(store, 1.0, 2.0)
        with serve(store) as served:
            client = mlflow.MlflowClient(address)
            webhook = client.create_webhook("featurestore", f"{served.url}{PATH}", EVENTS, secret=SECRET)
            tested = client.test_webhook(webhook.webhook_id)
            assert (tested.success, tested.response_status) == (True, 202), tested
            assert _predict(served) == 1.0
            client.set_registered_model_alias("spender", "champion", "2")
            wait_until(lambda: newest(store) == ("alias set", "2", "champion", "mlflow"))
            wait_until(lambda: _predict(served) == 2.0)
            client.copy_model_version("models:/spender/1", "copied")
            wait_until(lambda: newest(store) == ("registered", "1", None, "mlflow"))
            client.delete_registered_model_alias("spender", "champion")
            wait_until(lambda: newest(store) == ("alias removed", "2", "champion", "mlflow"))
            # What our own functions do is recorded once, although MLflow says it too.
            models.promote("spender", 1, approver="ann", store=store)
            client.set_registered_model_alias("spender", "late", "2")
            wait_until(lambda: newest(store) == ("alias set", "2", "late", "mlflow"))
            events = model_events.list_events(store._runtime)
            approvers = [event["approver"] for event in events if (event["alias"], event["version"]) == ("champion", "1")]
            assert (len(approvers), approvers[0]) == (2, "ann")
            other = client.update_webhook(webhook.webhook_id, secret="another secret of theirs")
            assert client.test_webhook(other.webhook_id).response_status == 401


def _predict(served: Served) -> float:
    headers = {"Authorization": "Bearer s3cret-token"}
    answer = served.http.post("/v1/models/spender/invocations", json={"dataframe_records": [RECORD]}, headers=headers)
    assert answer.is_success, answer.text
    return float(answer.json()["predictions"][0])


@dataclass(frozen=True)
class Delivery:
    """A delivery as MLflow sends it, and ways to forge it."""

    id: str
    signed_at: str
    content: bytes
    secret: str = SECRET

    def headers(self, **changes: str | None) -> dict[str, str]:
        sign = import_module("mlflow.webhooks.delivery")._generate_hmac_signature
        headers = {
            "Content-Type": "application/json",
            "X-MLflow-Delivery-Id": self.id,
            "X-MLflow-Timestamp": self.signed_at,
            "X-MLflow-Signature": sign(self.secret, self.id, self.signed_at, self.content.decode()),
        }
        changed = {**headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
        return {name: value for name, value in changed.items() if value is not None}


def delivery(age: int = 0, **changes: Any) -> Delivery:
    """A delivery that was signed so many seconds ago."""
    body = {"entity": "model_version_alias", "action": "created", "timestamp": "2026-03-15T00:00:00+00:00"}
    content = json.dumps({**body, "data": {"name": "spender", "alias": "champion", "version": "2"}}).encode()
    return Delivery(**{"id": str(uuid.uuid4()), "signed_at": str(int(time.time()) - age), "content": content, **changes})


def body_with(**fields: Any) -> bytes:
    return json.dumps({"entity": "model_version", "action": "created", "data": {"name": "spender"}, **fields}).encode()


def forgeries() -> Iterator[tuple[str, int, dict[str, str], bytes]]:
    """What must be refused: its name, the status, headers and body."""
    good = delivery()
    other = delivery(age=1)

    def forged(what: str, **changes: str | None) -> tuple[str, int, dict[str, str], bytes]:
        return what, 401, good.headers(**changes), good.content

    yield forged("not signed", X_MLflow_Signature=None)
    yield forged("an empty signature", X_MLflow_Signature="")
    yield forged("the signature of another delivery", X_MLflow_Signature=other.headers()["X-MLflow-Signature"])
    yield forged("another id", X_MLflow_Delivery_Id=str(uuid.uuid4()))
    yield forged("no id", X_MLflow_Delivery_Id=None)
    yield forged("another time", X_MLflow_Timestamp=str(int(good.signed_at) + 1))
    yield forged("no time", X_MLflow_Timestamp=None)
    signature = good.headers()["X-MLflow-Signature"]
    for text in (signature[3:], f"v2,{signature[3:]}", f"v1,AAAA {signature}", signature.lower(), f"{signature}=", "v1,é"):
        yield forged(f"the signature {text[:8]}", X_MLflow_Signature=text)
    yield "another body", 401, good.headers(), good.content.replace(b"spender", b"spinner")
    yield "another secret", 401, delivery(secret="another-secret-of-mine").headers(), good.content
    signed = {
        "stale": delivery(age=301),
        "of last year": delivery(age=31_536_000),
        "of the future": delivery(age=-3600),
        "an empty id": delivery(id=""),
        "an id with the dot that separates": delivery(id="a.1800000000"),
        "a long id": delivery(id="a" * 65),
        "a time with a sign": delivery(signed_at=f"+{int(time.time())}"),
        "a time in words": delivery(signed_at="now"),
        "a time of other digits": delivery(signed_at=f"{int(time.time())}.5"),
    }
    for what, one in signed.items():
        yield what, 401, one.headers(), one.content
    wrong = {
        "not JSON": b"entity=model_version",
        "not UTF-8": b'{"entity": "model_version", "action": "\xff", "data": {"name": "spender"}}',
        "a list": b"[]",
        "nothing": b"",
        "no data": json.dumps({"entity": "model_version", "action": "created"}).encode(),
        "data of another type": body_with(data="spender"),
        "an empty name": body_with(data={"name": ""}),
        "a long name": body_with(data={"name": "a" * 257}),
        "a name that is a number": body_with(data={"name": 1}),
        "a nested body": body_with(data={"name": "spender", "tags": 1})[:-2] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
    }
    for what, content in wrong.items():
        one = delivery(content=b"{}" if what == "not UTF-8" else content)
        status = 401 if what == "not UTF-8" else 422
        yield what, status, one.headers(), content
    nameless = delivery(content=body_with(data={}))
    yield "no name", 400, nameless.headers(), nameless.content
    for what, status, changes in (
        ("plain text", 422, {"Content-Type": "text/plain"}),
        ("a form", 422, {"Content-Type": "application/x-www-form-urlencoded"}),
        ("no content type", 422, {"Content-Type": None}),
        ("compressed", 415, {"Content-Encoding": "gzip"}),
        ("of a page of another site", 400, {"Origin": "https://evil.example"}),
        ("of another host", 400, {"Host": "evil.example"}),
    ):
        yield what, status, good.headers(**changes), good.content
    large = delivery(content=body_with(data={"name": "spender", "description": "x" * MOST_BYTES}))
    yield "too large", 413, large.headers(), large.content


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[Served]:
    """A shop with the model spender, in MLflow's default database, which calls nobody; the server has a token."""
    with shop.open_shop(tmp_path / "home", mlflow_webhook_secret=SECRET, token="s3cret-token") as store:
        log_versions(store, 1.0, 2.0)
        with serve(store) as served:
            # Its first look at MLflow is over, and would record what a test does.
            wait_until(lambda: served.http.get("/readyz").is_success)
            yield served


def test_forged_deliveries_are_refused_and_do_nothing(hooked: Served, caplog: pytest.LogCaptureFixture) -> None:
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("spender", "champion", "2")
    before = model_events.list_events(hooked.store._runtime)
    with caplog.at_level(logging.DEBUG, logger="featurestore"):
        for what, status, headers, content in forgeries():
            answer = hooked.http.post(
                PATH, headers={name.encode(): value.encode("latin-1") for name, value in headers.items()}, content=content
            )
            assert (what, answer.status_code) == (what, status), answer.text
            assert set(answer.json()) == {"error"}
            assert SECRET not in answer.text
        chunked = delivery(content=body_with(data={"name": "spender", "description": "x" * MOST_BYTES}))
        error_of(hooked.http.post(PATH, headers=chunked.headers(), content=iter([chunked.content])), 413, "TooLarge")
        assert hooked.http.get(PATH).status_code == 405
        # A query of its own is refused like any other.
        assert hooked.http.post(f"{PATH}?secret={SECRET}", headers=delivery().headers(), content=delivery().content).status_code == 400
        assert not [record for record in caplog.records if record.name == LOGGER]
        assert model_events.list_events(hooked.store._runtime) == before
        good = delivery()
        accepted = hooked.http.post(PATH, headers=good.headers(), content=good.content)
        assert (accepted.status_code, accepted.json()) == (202, {"id": good.id, "state": "accepted"})
        wait_until(lambda: newest(hooked.store) == ("alias set", "2", "champion", "mlflow"))
        assert [record.getMessage() for record in caplog.records if record.name == LOGGER] == [
            "MLflow says that model spender has changed: model_version_alias.created"
        ]
    assert SECRET not in caplog.text


def test_a_delivery_that_comes_twice_does_nothing_the_second_time(hooked: Served, caplog: pytest.LogCaptureFixture) -> None:
    good = delivery(age=120)
    with caplog.at_level(logging.DEBUG, logger=LOGGER):
        answers = [hooked.http.post(PATH, headers=good.headers(), content=good.content) for _ in range(3)]
        assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(202, "accepted"), (200, "known"), (200, "known")]
        for entity, data in (("prompt", {"name": "spender"}), ("budget_policy", {"budget_amount": 1.5}), ("of a later MLflow", {})):
            other = delivery(content=body_with(entity=entity, data=data))
            answer = hooked.http.post(PATH, headers=other.headers(), content=other.content)
            assert (answer.status_code, answer.json()["state"]) == (200, "ignored")
        assert len([record for record in caplog.records if record.name == LOGGER]) == 1
        # What anybody could send is not remembered: a forged delivery does not keep the true one out.
        true = delivery()
        assert hooked.http.post(PATH, headers=true.headers(X_MLflow_Signature="v1,AAAA"), content=true.content).status_code == 401
        assert hooked.http.post(PATH, headers=true.headers(), content=true.content).status_code == 202


def test_without_the_secret_there_are_no_webhooks(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path, token="s3cret-token")) as store, serve(store) as served:
        unsigned = {name: value for name, value in delivery().headers().items() if name == "Content-Type"}
        for headers in (unsigned, delivery().headers(), delivery(secret="").headers(), delivery(secret="None").headers()):
            error = error_of(served.http.post(PATH, headers=headers, content=delivery().content), 404, "NotFound")
            assert "FEATURESTORE_MLFLOW_WEBHOOK_SECRET" in error["message"]


def test_a_store_without_models_says_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FeatureStore(settings=Settings(home=tmp_path, mlflow_webhook_secret=SECRET)) as store, serve(store) as served:
        good = delivery()
        assert served.http.post(PATH, headers=good.headers(), content=good.content).status_code == 202
        wait_until(lambda: "set mlflow_tracking_uri to its address" in caplog.text)


def test_the_openapi_description_has_the_headers_and_asks_for_no_token(hooked: Served) -> None:
    document = hooked.http.get("/openapi.json").json()
    route = document["paths"][PATH]["post"]
    assert route["security"] == []
    assert [parameter["name"] for parameter in route["parameters"] if parameter["in"] == "header"] == [
        "X-MLflow-Delivery-Id",
        "X-MLflow-Timestamp",
        "X-MLflow-Signature",
    ]
    assert set(route["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {"entity", "action", "data"}
    assert {"200", "202", "default"} == set(route["responses"])
