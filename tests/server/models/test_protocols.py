"""MLflow's scoring protocol in all its forms, and the Open Inference Protocol: what they answer, and what they refuse with where."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, Settings, connect, models
from featurestore.server.requests import InferenceBody
from featurestore.server.requests.tensors import DATATYPES
from tests import shop
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

INVOKE, INFER = "/v1/models/spender/invocations", "/v2/models/spender/infer"
RECORDS = [{"customer_id": 1, "basket": 40.0}, {"customer_id": 99, "basket": 1.0}]
KEYS = {"name": "customer_id", "shape": [2], "datatype": "INT64", "data": [1, 99]}
BASKETS = {"name": "basket", "shape": [2], "datatype": "FP64", "data": [40.0, 1.0]}


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop with a regressor that memorizes the spend, and a classifier of texts that gives probabilities as its second version."""
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store, serve(store) as opened:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        options: dict[str, Any] = {"training_set": made, "store": store, "pip_requirements": ["scikit-learn"]}
        models.log_model(DecisionTreeRegressor().fit(rows, [80.0, 0.0, 0.0]), registered_model_name="spender", **options)
        likely = DecisionTreeClassifier().fit(rows, ["much", "none", "none"])
        models.log_model(likely, registered_model_name="spender", pyfunc_predict_fn="predict_proba", **options)
        models.log_model(likely, registered_model_name="sorter", **options)
        models.set_alias("spender", "champion", 1, approver="test", store=store)
        yield opened


def forms() -> Iterator[Any]:
    """The same two rows in each form of MLflow's protocol."""
    names, lists = list(RECORDS[0]), [list(record.values()) for record in RECORDS]
    yield "records", {"dataframe_records": RECORDS}
    yield "split", {"dataframe_split": {"columns": names, "data": lists, "index": [5, 7]}}
    yield "instances", {"instances": RECORDS}
    yield "instances as lists", {"instances": lists}
    yield "inputs as columns", {"inputs": {name: [record[name] for record in RECORDS] for name in names}}
    yield "inputs as lists", {"inputs": lists}
    yield "inputs as objects", {"inputs": RECORDS}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in forms()])
def test_every_form_gives_the_same(modelled: Served, body: dict[str, Any]) -> None:
    answer = modelled.http.post(INVOKE, json=body)
    assert answer.is_success, answer.text
    answer_body = answer.json()
    assert (answer_body["predictions"], answer_body["version"]) == ([80.0, 0.0], "1")
    assert answer_body["status"]["customer_orders"] == ["PRESENT", "NOT_FOUND"]
    view = modelled.store.view("customer_orders")
    assert answer_body["snapshots"]["customer_orders_v1"] == view["snapshot_id"]
    assert answer_body["watermarks"]["customer_orders_v1"] == view["materialized_through"]
    assert answer_body["model_id"].startswith("m-")


def test_rows_without_names_may_have_all_features(modelled: Served) -> None:
    plan = modelled.store.service("churn")
    features = {"orders_7d": 0, "spend_30d": 0.0}
    row = [1, 40.0, *(features.get(name) for name in plan["features"])]
    assert modelled.http.post(INVOKE, json={"inputs": [row]}).json()["predictions"] == [0.0]
    error = error_of(modelled.http.post(INVOKE, json={"inputs": [[1, 2.0, 3]]}), 400, "RequestError")
    assert "takes 2 (customer_id, basket), or" in error["message"]


@pytest.mark.parametrize(
    "body, where",
    [
        ({}, "exactly one of dataframe_records, dataframe_split, instances and inputs"),
        ({"instances": RECORDS, "inputs": RECORDS}, "exactly one"),
        ({"inputs": 7}, "inputs: must be a list of rows"),
        ({"inputs": {}}, "inputs: is an object without columns"),
        ({"inputs": {"customer_id": [1], "basket": [1.0, 2.0]}}, "inputs.basket: has 2 values, and inputs.customer_id has 1"),
        ({"inputs": {"customer_id": 1, "basket": [1.0]}}, "inputs.customer_id: is 1, and must be a list"),
        ({"instances": [RECORDS[0], [1, 2.0]]}, "instances[1] is a list, and instances[0] is an object"),
        ({"instances": [[1, 2.0], [1]]}, "instances[1] has 1 values, and instances[0] has 2"),
        ({"instances": [[1, 2.0], 3]}, "instances[1] is 3"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "columns: 'a' is given twice"),
        ({"dataframe_records": RECORDS, "rows": 1}, "rows: Extra inputs are not permitted"),
    ],
)
def test_wrong_bodies_are_refused_with_where(modelled: Served, body: dict[str, Any], where: str) -> None:
    assert where in error_of(modelled.http.post(INVOKE, json=body), 422, "RequestError")["message"]


def test_a_parameter_that_the_signature_lacks(modelled: Served) -> None:
    error = error_of(modelled.http.post(INVOKE, json={"dataframe_records": RECORDS, "params": {"depth": 1}}), 400, "RequestError")
    assert "no parameter 'depth'" in error["message"]


def test_tensors_in_tensors_out(modelled: Served) -> None:
    answer = modelled.http.post(INFER, json={"id": "call-7", "inputs": [KEYS, {**BASKETS, "shape": [2, 1], "data": [[40.0], [1.0]]}]})
    assert answer.is_success, answer.text
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("spender", "1", "call-7")
    assert answer.headers["x-request-id"] == "call-7"
    assert body["outputs"][0] == {"name": "prediction", "datatype": "FP64", "shape": [2], "data": [80.0, 0.0]}
    status = {"name": "status.customer_orders", "datatype": "BYTES", "shape": [2], "data": ["PRESENT", "NOT_FOUND"]}
    assert status in body["outputs"]
    view = modelled.store.view("customer_orders")
    assert body["parameters"]["snapshot.customer_orders_v1"] == view["snapshot_id"]
    assert body["parameters"]["watermark.customer_orders_v1"] == view["materialized_through"]
    assert body["parameters"]["model_id"].startswith("m-")


def test_outputs_and_versions(modelled: Served) -> None:
    body = {"inputs": [KEYS, BASKETS], "outputs": [{"name": "prediction"}]}
    (likely,) = modelled.http.post("/v2/models/spender/versions/2/infer", json=body).json()["outputs"]
    assert (likely["datatype"], likely["shape"], likely["data"]) == ("FP64", [2, 2], [1.0, 0.0, 0.0, 1.0])
    (sorted_,) = modelled.http.post("/v2/models/sorter/infer", json=body).json()["outputs"]
    assert (sorted_["datatype"], sorted_["data"]) == ("BYTES", ["much", "none"])
    error = error_of(modelled.http.post(INFER, json={**body, "outputs": [{"name": "predictions"}]}), 400, "RequestError")
    assert "did you mean 'prediction'?" in error["message"]


def test_metadata_and_probes(modelled: Served) -> None:
    get = modelled.http.get
    assert get("/v2").json()["extensions"] == []
    assert get("/v2/health/live").json() == {"live": True}
    assert get("/v2/health/ready").json() == {"ready": True}
    described = get("/v2/models/spender").json()
    assert (described["name"], described["versions"]) == ("spender", ["1"])
    inputs = {one["name"]: one for one in described["inputs"]}
    assert inputs["customer_id"] == {"name": "customer_id", "datatype": "INT64", "shape": [-1]}
    assert (inputs["born"]["datatype"], inputs["born"]["parameters"]) == ("BYTES", {"optional": True})
    assert described["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    assert get("/v2/models/spender/versions/2").json()["outputs"][0]["shape"] == [-1, 2]
    assert get("/v2/models/sorter").json()["outputs"][0]["datatype"] == "BYTES"
    assert get("/v2/models/spender/versions/2/ready").json() == {"name": "spender", "ready": True}
    error_of(get("/v2/models/spender/versions/9/ready"), 404, "NotFound")
    error_of(get("/v2/models/spende"), 404, "NotFound")


@pytest.mark.parametrize(
    "tensor, where",
    [
        ({**KEYS, "data": [1, 1.5]}, "data[1]: 1.5 is not a value of INT64"),
        ({**KEYS, "data": [1, True]}, "data[1]: True is not a value of INT64"),
        ({**KEYS, "data": [1, None]}, "data[1]: null is not a value of INT64; leave the tensor out"),
        ({**KEYS, "datatype": "INT8", "data": [1, 128]}, "data[1]: 128 is not a value of INT8"),
        ({**KEYS, "datatype": "UINT64", "data": [1, -1]}, "data[1]: -1 is not a value of UINT64"),
        ({**KEYS, "datatype": "FP32", "data": [1, 1e39]}, "data[1]: 1e+39 is not a value of FP32"),
        ({**KEYS, "datatype": "BYTES"}, "data[0]: 1 is not a value of BYTES"),
        ({**KEYS, "datatype": "int64"}, "datatype: 'int64' is none of BOOL, UINT8"),
        ({**KEYS, "shape": [3]}, "data: has 2 values, and the shape [3] is of 3"),
        ({**KEYS, "shape": [2, 2], "data": [[1, 2], [3]]}, "data[1]: has 1 values, and the shape [2, 2] is of 2 in each"),
        ({**KEYS, "shape": [2**70]}, "is of a number of over 64 bits"),
        ({**KEYS, "shape": [-2]}, "inputs[0].shape[0]: Input should be greater than or equal to 0"),
        ({**KEYS, "shape": [2, 1, 1]}, "inputs[0].shape: List should have at most 2 items"),
        ({**KEYS, "shape": []}, "inputs[0].shape: List should have at least 1 item"),
        ({**KEYS, "size": 2}, "inputs[0].size: Extra inputs are not permitted"),
        ({**BASKETS, "shape": [1], "data": [1.0]}, "inputs[1]: shape [2] is of 2 rows, and inputs[0] of 1"),
    ],
)
def test_wrong_tensors_are_refused_with_where(modelled: Served, tensor: dict[str, Any], where: str) -> None:
    body = {"inputs": [tensor, {**BASKETS, "name": "spend_30d"}]}
    assert where in error_of(modelled.http.post(INFER, json=body), 422, "RequestError")["message"]


def test_wrong_names_types_and_extensions(modelled: Served) -> None:
    def ask(*tensors: Any, **more: Any) -> httpx.Response:
        return modelled.http.post(INFER, json={"inputs": [*tensors], **more})

    assert "did you mean 'basket' or" in error_of(ask(KEYS, {**BASKETS, "name": "baskets"}), 400, "RequestError")["message"]
    error_of(ask(KEYS, {**BASKETS, "datatype": "BYTES", "data": ["x", "y"]}), 422, "TypeMismatch")
    assert "given twice" in error_of(ask(KEYS, KEYS), 422, "RequestError")["message"]
    twice = [{"name": "prediction"}, {"name": "prediction"}]
    message = error_of(ask(KEYS, BASKETS, outputs=twice), 422, "RequestError")["message"]
    assert "outputs[1]: 'prediction' is given twice" in message
    assert "binary" in error_of(ask({**KEYS, "parameters": {"binary_data_size": 16}}, BASKETS), 400, "RequestError")["message"]
    outputs = [{"name": "prediction", "parameters": {"classification": 2}}]
    assert "classification" in error_of(ask(KEYS, BASKETS, outputs=outputs), 400, "RequestError")["message"]
    assert "no parameter 'depth'" in error_of(ask(KEYS, BASKETS, parameters={"depth": 1}), 400, "RequestError")["message"]
    # What tritonclient sends with every request.
    assert ask(KEYS, BASKETS, parameters={"binary_data_output": True}).is_success
    many = modelled.store.settings.entities_limit + 1
    error_of(ask({**KEYS, "shape": [many], "data": [1] * many}), 413, "TooLarge")


@pytest.mark.parametrize("sent", ["call-7", "x" * 64, "", "x" * 65, "a b", "é", "a/b", "{}"])
def test_an_id_is_returned_if_it_is_plain(modelled: Served, sent: str) -> None:
    plain = sent.isascii() and 0 < len(sent) <= 64 and sent.replace("-", "").isalnum()
    header = {b"X-Request-ID": sent.encode()}
    by_header = modelled.http.post(INVOKE, json={"dataframe_records": RECORDS}, headers=header)
    by_body = modelled.http.post(INFER, json={"id": sent, "inputs": [KEYS, BASKETS]})
    for answer, found in ((by_header, by_header.json()["request_id"]), (by_body, by_body.json()["id"])):
        assert answer.headers["x-request-id"] == found
        assert (found == sent) == plain
        assert plain or (len(found) == 32 and found.isalnum())


def test_a_client_gets_all_of_it(modelled: Served) -> None:
    with connect(modelled.url) as remote:
        predictions = remote.predict("spender", RECORDS)
    assert predictions.request_id
    assert predictions.model_id
    assert predictions.watermarks["customer_orders_v1"] == modelled.store.view("customer_orders").materialized_through
    assert predictions.arms is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5), lambda part: st.lists(part, max_size=4)
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(DATATYPES)), st.lists(JSON, max_size=5), st.lists(st.integers(-1, 6), max_size=3))
def test_a_tensor_is_taken_exactly_if_its_values_fit(datatype: str, data: list[Any], shape: list[int]) -> None:
    def fits(value: Any) -> bool:
        if datatype == "BOOL" or datatype == "BYTES":
            return type(value) is (bool if datatype == "BOOL" else str)
        kind = np.dtype({"FP16": "f2", "FP32": "f4", "FP64": "f8"}.get(datatype, datatype.lower()))
        if kind.kind == "f":
            return type(value) in (int, float) and abs(value) <= float(np.finfo(kind).max)
        return type(value) is int and int(np.iinfo(kind).min) <= value <= int(np.iinfo(kind).max)

    nested = len(shape) == 2 and bool(data) and isinstance(data[0], list)
    flat = [value for row in data for value in row] if nested and all(isinstance(row, list) for row in data) else data
    right = len(shape) in (1, 2) and min(shape) >= 0 and shape[1:] != [0] and len(flat) == int(np.prod(shape)) and all(map(fits, flat))
    if nested:
        right = right and len(data) == shape[0] and all(isinstance(row, list) and len(row) == shape[1] for row in data)
    content = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]})
    try:
        body = InferenceBody.model_validate_json(content)
    except ValidationError:
        assert not right
    else:
        assert right
        assert len(body.rows()) == shape[0]


def test_probes_need_no_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("empty")
    with FeatureStore(settings=Settings(home=home, token="secret-of-the-test")) as store, serve(store) as served:
        assert served.http.get("/v2/health/live").is_success
        error_of(served.http.get("/v2"), 401, "Unauthorized")
        error_of(served.http.post(INFER, json={}), 401, "Unauthorized")
