"""Predict for rows that are split among several versions of a model, and put their answers together in the order of the rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featurestore.errors import RequestError
from featurestore.pipelines.online_lookup.prediction import Arm, Prediction
from featurestore.records.traffic_split import TrafficSplit
from featurestore.server.requests.body import Record
from featurestore.server.requests.predictions import NamesOf
from featurestore.values.row_places import RowPlaces

if TYPE_CHECKING:
    from featurestore.models.serving.arms import ArmModel

Predict = Callable[["ArmModel", list[Record], list[int]], Prediction]
"""Predicts with a model for rows, given the numbers of the rows in the request."""


def assign_rows(
    split: TrafficSplit, arms: "Mapping[str, ArmModel]", rows: Sequence[Record], places: RowPlaces
) -> "dict[ArmModel, list[int]]":
    """The numbers of the rows that each model answers. Raises: TypeMismatch naming the row and the key."""
    assigned: dict[ArmModel, list[int]] = {}
    for number, row in enumerate(rows):
        assigned.setdefault(arms[split.arm_of(row, number, places)], []).append(number)
    return assigned


def positional_names(split: TrafficSplit, arms: "Mapping[str, ArmModel]") -> NamesOf:
    """The names of rows without names, which all models of a split must agree on."""

    def names_of(field: str, width: int) -> Sequence[str]:
        layouts = {tuple(arm.model.positional_names(field, width)) for arm in arms.values()}
        if len(layouts) > 1:
            raise RequestError(
                f"{field}: the versions that receive the traffic of model {split.model} have different columns; send rows with names",
                field=field,
            )
        return layouts.pop()

    return names_of


def predict_split(split: TrafficSplit, assigned: "Mapping[ArmModel, list[int]]", rows: Sequence[Record], predict: Predict) -> Prediction:
    """The predictions of all rows. Raises: as `predict`."""
    predictions: list[Any] = [None] * len(rows)
    aliases = [""] * len(rows)
    status: dict[str, list[str | None]] = {}
    answered_by: dict[str, Arm] = {}
    for arm, numbers in assigned.items():
        part = predict(arm, [rows[number] for number in numbers], numbers)
        for label, states in part.status.items():
            merged = status.setdefault(label, [None] * len(rows))
            for number, state in zip(numbers, states, strict=True):
                merged[number] = state
        for number, value in zip(numbers, part.predictions, strict=True):
            predictions[number], aliases[number] = value, arm.alias
        answered_by[arm.alias] = Arm(part.version, part.model_id, part.snapshots, part.watermarks)
    versions = {(arm.version, arm.model_id) for arm in answered_by.values()}
    version, model_id = versions.pop() if len(versions) == 1 else (None, None)
    # Of two arms that read a table at different snapshots, the first is shown here; `answered_by` has both.
    read = [*answered_by.values()][::-1]
    snapshots = {table: at for part in read for table, at in part.snapshots.items()}
    watermarks = {table: at for part in read for table, at in part.watermarks.items()}
    return Prediction(
        predictions,
        split.model,
        version,
        snapshots,
        status,
        model_id=model_id,
        watermarks=watermarks,
        arms=aliases,
        answered_by=answered_by,
    )
