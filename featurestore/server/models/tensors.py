"""Models and their predictions as the Open Inference Protocol describes them: tensors with a name, a datatype and a shape."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featurestore.errors import ModelError, RequestError, near
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.values import json_encoding, times
from featurestore.values.value_types import type_name

if TYPE_CHECKING:
    from featurestore.models import LoadedModel

PREDICTION, STATUS, ARM, VERSION = "prediction", "status.", "arm", "version"
"""The names of output tensors; those of several values with names are `prediction.<name>`, and those of views `status.<view>`."""
_OF_SQL = {"BOOLEAN": "BOOL", "INTEGER": "INT32", "BIGINT": "INT64", "FLOAT": "FP32", "DOUBLE": "FP64"}
"""The datatypes of columns; all others are BYTES, with the texts that JSON has for their values."""
_OF_TYPE = {"bool": "BOOL", "int": "INT64", "float": "FP64", "text": "BYTES"}
_OF_PYTHON: Mapping[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def describe_model(model: "LoadedModel") -> dict[str, Any]:
    """The metadata of a model: inputs are keys and request fields, and the features, which may be left out."""
    plan = model.stamp.plan
    types: dict[str, str | None] = {column: plan.key_types[column] for column in plan.entity_columns}
    types.update(plan.request)
    types.update((name, sql_type) for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True))
    types.update((name, None) for name, _ in plan.derived)
    optional = set(plan.feature_names)
    kind, width = model.output_type
    return {
        "name": model.name,
        "versions": [] if model.version is None else [model.version],
        "platform": "mlflow",
        "inputs": [
            {**_input(name, sql_type), **({"parameters": {"optional": True}} if name in optional else {})}
            for name, sql_type in types.items()
        ],
        "outputs": [{"name": PREDICTION, "datatype": _OF_TYPE[kind], "shape": [-1] if width is None else [-1, width]}],
    }


def encode_prediction(prediction: Prediction, request_id: str, outputs: Collection[str] | None) -> bytes:
    """The response to a request for these outputs; None: all. Raises: RequestError for an unknown output; ModelError for predictions
    that are no tensor.
    """
    tensors = {tensor["name"]: tensor for tensor in _tensors(prediction)}
    for name in outputs or ():
        if name not in tensors:
            raise RequestError(f"outputs: model {prediction.model} has no output {name[:100]!r}{near(name, tensors)}", field="outputs")
    document = {
        "model_name": prediction.model,
        **({} if prediction.version is None else {"model_version": prediction.version}),
        "id": request_id,
        "parameters": _parameters(prediction),
        "outputs": [tensor for name, tensor in tensors.items() if outputs is None or name in outputs],
    }
    return json_encoding.dumps(document)


def _input(name: str, sql_type: str | None) -> dict[str, Any]:
    scalar = "" if sql_type is None else sql_type.replace("[]", "")
    # A derived feature has no declared type; nearly all are numbers.
    datatype = "FP64" if sql_type is None else _OF_SQL.get(type_name(scalar), "BYTES")
    return {"name": name, "datatype": datatype, "shape": [-1, -1] if sql_type is not None and sql_type.endswith("[]") else [-1]}


def _tensors(prediction: Prediction) -> list[dict[str, Any]]:
    values = prediction.predictions
    if values and all(isinstance(value, dict) for value in values):
        names = list(values[0])
        tensors = [_tensor(f"{PREDICTION}.{name}", [value.get(name) for value in values]) for name in names]
    else:
        tensors = [_tensor(PREDICTION, values)]
    tensors += [_texts(f"{STATUS}{label}", [state or "" for state in states]) for label, states in prediction.status.items()]
    if prediction.arms is not None and prediction.answered_by is not None:
        tensors.append(_texts(ARM, prediction.arms))
        tensors.append(_texts(VERSION, [prediction.answered_by[arm].version or "" for arm in prediction.arms]))
    return tensors


def _tensor(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """One tensor of all values, or of lists of values of one length. Raises: ModelError."""
    width, flat = None, list(values)
    if flat and all(isinstance(value, list) for value in flat):
        width = len(flat[0])
        if any(len(value) != width for value in flat):
            raise ModelError("the model predicted lists of different lengths, which are no tensor; ask /v1/models/.../invocations")
        flat = [item for value in flat for item in value]
    kinds = {type(value) for value in flat}
    # Whole numbers among floats are floats.
    kind: type = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else object if kinds else float
    if kind not in _OF_PYTHON:
        raise ModelError("the model predicted values of several types, or none that a tensor has; ask /v1/models/.../invocations")
    shape = [len(values)] if width is None else [len(values), width]
    return {"name": name, "datatype": _OF_PYTHON[kind], "shape": shape, "data": flat}


def _texts(name: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}


def _parameters(prediction: Prediction) -> dict[str, Any]:
    """What was read, as flat names: values of parameters are texts, numbers or booleans. What was never published is left out."""
    snapshots = {f"snapshot.{table}": str(at) for table, at in prediction.snapshots.items() if at is not None}
    watermarks = {f"watermark.{table}": times.text(times.micros(at)) for table, at in prediction.watermarks.items() if at is not None}
    return {**({} if prediction.model_id is None else {"model_id": prediction.model_id}), **snapshots, **watermarks}
