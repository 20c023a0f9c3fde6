"""Every bad input to predictions in every form of a request: an error of the client that names the field, and nothing is logged."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow  # isort: skip - before anything else imports it

from featurestore import models
from featurestore.models.prediction_log.log import open_spool
from tests import shop
from tests.server.conftest import Served, serve

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

INVOKE, INFER = "/v1/models/scaled/invocations", "/v2/models/scaled/infer"
Row = dict[str, Any]
GOOD: Row = {"customer_id": 1, "basket": 40.0}
FEATURES: Row = {"spend_30d": 1.0, "orders_7d": 1, "born": "2026-01-02", "seen_at": "2026-01-02", "country": "AT", "credit": "1.2"}
VALID: Row = {**GOOD, **FEATURES, "basket_share": 1.0}
ANSWER = [40.0, 40.0]


class Scaled(PythonModel):  # type: ignore[misc]
    """A model with a parameter."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Row | None = None) -> list[float]:
        """The basket, so many times."""
        return [float(basket) * (params or {}).get("factor", 1.0) for basket in model_input["basket"]]


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop with a model that has a parameter, behind a server that logs all predictions, and flushes none while tests run."""
    home = tmp_path_factory.mktemp("shop")
    settings = {"prediction_log": "full", "prediction_log_seconds": 86_400, "mlflow_tracking_uri": f"sqlite:///{home}/mlflow.db"}
    with shop.open_shop(home, **settings) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        signature = mlflow.models.infer_signature(pd.DataFrame({"basket": [1.0]}), [1.0], params={"factor": 1.0})
        options: Row = {"inputs": ["basket"], "signature": signature, "pip_requirements": ["pandas"], "store": store}
        models.log_model(Scaled(), training_set=made, registered_model_name="scaled", **options)
        models.set_alias("scaled", "champion", 1, approver="test", store=store)
        with serve(store) as opened:
            yield opened


@dataclass(frozen=True)
class Form:
    """A form of the rows of a request. `place` is where its errors find a field of a row."""

    path: str
    place: str
    body: Callable[[list[Row]], Row]

    def place_of(self, name: str, row: int) -> str:
        """The place of a field in a row."""
        return self.place.format(name=name, row=row)

    @property
    def has_tensors(self) -> bool:
        """Whether it is that of the Open Inference Protocol."""
        return self.path == INFER


def split(rows: list[Row]) -> Row:
    return {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}}


def columns(rows: list[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def tensors(rows: list[Row]) -> Row:
    return {"inputs": [tensor(name, values) for name, values in columns(rows).items()]}


def tensor(name: str, values: list[Any]) -> Row:
    """A tensor of the datatype of its last value; lists make it one of two dimensions."""
    last = values[-1]
    shape = [len(values), len(last)] if isinstance(last, list) else [len(values)]
    inner = last[0] if isinstance(last, list) else last
    datatype = "BOOL" if isinstance(inner, bool) else {int: "INT64", str: "BYTES"}.get(type(inner), "FP64")
    if isinstance(last, list):
        values = [value if isinstance(value, list) else [value] * len(last) for value in values]
    else:
        # All values are of one datatype.
        values = [value if type(value) is type(last) else last for value in values]
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}


FORMS = {
    "records": Form(INVOKE, "records[{row}].{name}", lambda rows: {"dataframe_records": rows}),
    "split": Form(INVOKE, "dataframe_split.data[{row}].{name}", split),
    "instances": Form(INVOKE, "instances[{row}].{name}", lambda rows: {"instances": rows}),
    "inputs": Form(INVOKE, "inputs[{row}].{name}", lambda rows: {"inputs": rows}),
    "columns": Form(INVOKE, "inputs.{name}[{row}]", lambda rows: {"inputs": columns(rows)}),
    "tensors": Form(INFER, "inputs.{name}[{row}]", tensors),
}
NAN, INFINITY, HUGE = float("nan"), float("inf"), 99999999999999999999
FIELDS: dict[str, tuple[str, Any]] = {
    "a text for an integer key": ("customer_id", "three"),
    "a fraction for an integer key": ("customer_id", 1.5),
    "a truth value for an integer key": ("customer_id", True),
    "an integer key of over 64 bits": ("customer_id", HUGE),
    "NaN for an integer key": ("customer_id", NAN),
    "Infinity for an integer key": ("customer_id", INFINITY),
    "a list for a key": ("customer_id", [1, 2]),
    "an object for a key": ("customer_id", {"id": 1}),
    "a text for a number": ("basket", "much"),
    "a truth value for a number": ("basket", True),
    "a list for a number": ("basket", [1.0, 2.0]),
    "nested lists for a number": ("basket", [[1.0], [2.0]]),
    "a text for a double feature": ("spend_30d", "much"),
    "a fraction for an integer feature": ("orders_7d", 1.5),
    "an integer feature of over 64 bits": ("orders_7d", HUGE),
    "NaN for an integer feature": ("orders_7d", NAN),
    "a text for a date": ("born", "soon"),
    "a text for a time": ("seen_at", "soon"),
    "a number for a text": ("country", 7),
    "digits that a decimal has no room for": ("credit", "1.234"),
    "a list for a derived feature": ("basket_share", [1.0, 2.0]),
    "an unknown field": ("baskett", 1.0),
}
"""The field of the second row, and its value."""


def waiting(served: Served) -> int:
    """The rows of predictions that wait to be logged, in the file that the processes of a server share."""
    spool = open_spool(served.store.settings)
    try:
        return sum(backlog.rows for backlog in spool.backlog())
    finally:
        spool.close()


def refused(served: Served, path: str, body: Any, statuses: tuple[int, ...] = (400, 422), **options: Any) -> dict[str, Any]:
    """The error of a request with this body, of which nothing is logged."""
    before = waiting(served)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.http.post(path, content=content, **{"headers": {"Content-Type": "application/json"}, **options})
    assert answer.status_code in statuses, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"type", "message", "details"}
    assert waiting(served) == before
    return error


def each_form() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("form", [pytest.param(form, id=name) for name, form in FORMS.items()])


@each_form()
def test_a_good_request_is_answered_and_logged(modelled: Served, form: Form) -> None:
    before = waiting(modelled)
    answer = modelled.http.post(form.path, json=form.body([GOOD, GOOD]))
    assert answer.is_success, answer.text
    body = answer.json()
    assert (body["outputs"][0]["data"] if form.has_tensors else body["predictions"]) == ANSWER
    assert waiting(modelled) == before + 2


def each_field() -> Iterator[Any]:
    for form_name, form in FORMS.items():
        for case, (name, value) in FIELDS.items():
            # Tensors have no objects.
            if not (form.has_tensors and isinstance(value, dict)):
                yield pytest.param(form, name, value, id=f"{form_name}-{case}")


@pytest.mark.parametrize("form, name, value", list(each_field()))
def test_a_field_is_refused_by_its_place(modelled: Served, form: Form, name: str, value: Any) -> None:
    error = refused(modelled, form.path, form.body([{**GOOD, name: VALID.get(name, 1.0)}, {**GOOD, name: value}]))
    if form.has_tensors and "tensor" in error["message"]:
        # The values of a tensor are checked against its datatype before anything is known of the model.
        assert f"tensor '{name}': data[" in error["message"]
        return
    # All rows have the unknown field, and all values of a tensor are of one datatype.
    row = 1 if name in VALID and not form.has_tensors else int(error["details"]["field"].rpartition("[")[2][0])
    place = form.place_of(name, row)
    assert error["details"]["field"].startswith(place)
    known = error["message"].startswith(place) if name in VALID else f"'{name}' is not a key, request field" in error["message"]
    assert known, error


@pytest.mark.parametrize("lacking", GOOD)
@each_form()
def test_a_missing_key_or_request_field_is_named(modelled: Served, form: Form, lacking: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != lacking}
    error = refused(modelled, form.path, form.body([row, row]))
    assert f"'{lacking}'" in error["message"]
    assert error["details"]["field"] == form.place_of(lacking, 0)


@each_form()
def test_a_null_key_is_a_key_that_no_row_has(modelled: Served, form: Form) -> None:
    body = form.body([GOOD, {**GOOD, "customer_id": None}])
    if form.has_tensors:
        body["inputs"][0]["datatype"] = "INT64"
        error = refused(modelled, form.path, body)
        assert "null is not a value of INT64; leave the tensor out" in error["message"]
        assert "customer_id" in error["message"]
        return
    answer = modelled.http.post(form.path, json=body)
    assert answer.is_success, answer.text
    assert answer.json()["status"]["customer_orders"] == ["PRESENT", "NOT_FOUND"]


WIDTHS: dict[str, tuple[str, Row, str]] = {
    "a row of another width": (INVOKE, {"instances": [[1, 2.0], [1]]}, "instances[1]"),
    "rows of no known width": (INVOKE, {"instances": [[1, 2.0, 3]]}, "instances"),
    "inputs of no known width": (INVOKE, {"inputs": [[1, 2.0, 3]]}, "inputs"),
    "a row that is too short for its columns": (INVOKE, {"dataframe_split": {"columns": list(GOOD), "data": [[1]]}}, "data[0]"),
    "a column that is too short": (INVOKE, {"inputs": {"customer_id": [1, 2], "basket": [1.0]}}, "inputs.basket"),
    "lists for the columns of lists": (INVOKE, {"instances": [[[1], 2.0]]}, "instances[0].customer_id"),
    "lists for the columns of inputs": (INVOKE, {"inputs": [[1, [2.0]]]}, "inputs[0].basket"),
    "rows that are no objects": (INVOKE, {"dataframe_records": [1]}, "dataframe_records[0]"),
    "a single value for two columns": (INVOKE, {"instances": [1]}, "instances"),
    "a tensor of another number of rows": (INFER, {"inputs": [tensor("customer_id", [1]), tensor("basket", [1.0, 2.0])]}, "inputs[1]"),
    "a tensor that is longer than its shape": (INFER, {"inputs": [{**tensor("customer_id", [1]), "data": [1, 2]}]}, "customer_id"),
    "a tensor of an unknown datatype": (INFER, {"inputs": [{**tensor("customer_id", [1]), "datatype": "INT65"}]}, "customer_id"),
    "a tensor that is there twice": (INFER, {"inputs": [tensor("basket", [1.0])] * 2}, "basket"),
    "a tensor of three dimensions": (INFER, {"inputs": [{**tensor("basket", [1.0]), "shape": [1, 1, 1]}]}, "inputs[0].shape"),
    "a list of values for a key": (INFER, {"inputs": [tensor("customer_id", [[1, 2]]), tensor("basket", [1.0])]}, "inputs.customer_id[0]"),
}


@pytest.mark.parametrize("case", WIDTHS)
def test_rows_of_a_wrong_shape_are_refused(modelled: Served, case: str) -> None:
    path, body, place = WIDTHS[case]
    assert place in json.dumps(refused(modelled, path, body))


@each_form()
def test_parameters_of_the_model_are_checked(modelled: Served, form: Form) -> None:
    name = "parameters" if form.has_tensors else "params"
    for params, message in (
        ({"factr": 2.0}, "'factr'; did you mean 'factor'"),
        ({"factor": "two"}, "'factor' must be double, not str"),
        ([1], name),
    ):
        error = refused(modelled, form.path, {**form.body([GOOD, GOOD]), name: params})
        assert message in error["message"]
        assert name in error["message"]


@each_form()
def test_what_is_no_request_is_refused(modelled: Served, form: Form) -> None:
    empty: Row = {"inputs": []} if form.has_tensors else {}
    contents: list[Any] = [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"instances": [NaN', b'{"a": 1, "a": 2}', empty, {"rows": []}]
    for content in contents:
        refused(modelled, form.path, content)
    body = form.body([GOOD, GOOD])
    for content_type in ("text/csv", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        error = refused(modelled, form.path, body, headers={"Content-Type": content_type})
        assert "send it with Content-Type: application/json" in error["message"]
    error = refused(modelled, form.path, {**body, "dataframe": []})
    assert "dataframe" in error["message"]


@each_form()
def test_an_unknown_model_version_or_alias_is_not_found(modelled: Served, form: Form) -> None:
    body = form.body([GOOD, GOOD])
    unknown = refused(modelled, form.path.replace("scaled", "scale"), body, (404,))
    assert "no model 'scale'" in unknown["message"]
    alias = refused(modelled, form.path, body, (404,), params={"alias": "champ"})
    assert "no alias 'champ'" in alias["message"]
    if form.has_tensors:
        version = refused(modelled, "/v2/models/scaled/versions/9/infer", body, (404,))
    else:
        version = refused(modelled, form.path, body, (404,), params={"version": "9"})
        both = refused(modelled, form.path, body, params={"version": "1", "alias": "champion"})
        assert "not both" in both["message"]
    assert "no version '9'" in version["message"]
    query = refused(modelled, form.path, body, params={"aliass": "champion"})
    assert "no query parameter 'aliass'" in query["message"]


def test_a_tensor_of_doubles_may_have_nan(modelled: Served) -> None:
    content = json.dumps(tensors([{**GOOD, "score": 1.0}, {**GOOD, "score": NAN}]))
    answer = modelled.http.post(INFER, content=content, headers={"Content-Type": "application/json"})
    assert answer.is_success, answer.text
    assert answer.json()["outputs"][0]["data"] == ANSWER


def test_a_request_of_no_rows_has_no_predictions(modelled: Served) -> None:
    before = waiting(modelled)
    bodies: list[Row] = [{"dataframe_records": []}, {"instances": []}, {"inputs": []}, {"inputs": {"customer_id": [], "basket": []}}]
    for body in bodies:
        answer = modelled.http.post(INVOKE, json=body)
        assert answer.is_success, answer.text
        assert answer.json()["predictions"] == []
    assert waiting(modelled) == before
