"""Lookups, predictions, and the models behind them."""

from typing import Any, Literal

from pydantic import Field

from featurestore.server.responses.answer import Answer

Status = Literal["PRESENT", "NOT_FOUND", "EXPIRED", "STALE"]


class OnlineFeatures(Answer):
    """One row of values for each entity, in the order of `features`. `status` and `timestamps` have one list by entity for each view."""

    features: list[str]
    rows: list[list[Any]]
    snapshots: dict[str, str | None]
    watermarks: dict[str, str | None]
    edition: str | None = Field(None, description="number of the newest publish among the values; views of one run share it")
    types: list[str | None] | None = Field(None, description="DuckDB type of each feature; null for derived features")
    derived_types: list[str] | None = Field(None, description="DuckDB type of each derived feature, if there are any")
    status: dict[str, list[Status]] | None = None
    timestamps: dict[str, list[str | None]] | None = None


class Model(Answer):
    """A model version and what it was trained on; `version` is null for a model that was never registered."""

    model: str
    version: str | None
    training_set: str
    snapshots: dict[str, str | None]
    aliases: list[str]
    stage: str | None
    at: str


class Arm(Answer):
    """A version that predicted for some of the rows, and what it read."""

    version: str | None
    model_id: str | None
    snapshots: dict[str, str | None]
    watermarks: dict[str, str | None]


class Predictions(Answer):
    """One prediction for each row, with the model, the snapshots and the watermarks used. `status` has one for each row, by view.

    If the traffic is split, `arms` has the alias that answered each row, `answered_by` the version behind each alias, and `version` and
    `model_id` are null if there was more than one.
    """

    predictions: list[Any]
    model: str
    version: str | None
    model_id: str | None = Field(None, description="id of the logged model in MLflow")
    request_id: str = Field(description="the header X-Request-ID if it was sent, else made by the server")
    snapshots: dict[str, str | None]
    watermarks: dict[str, str | None] = Field(description="time through which each feature table was materialized")
    status: dict[str, list[Status | None]] = Field(default_factory=dict)
    arms: list[str] | None = None
    answered_by: dict[str, Arm] | None = None
