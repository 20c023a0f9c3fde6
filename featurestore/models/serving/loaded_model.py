"""A stamped model in memory, with the store that its features are looked up in."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featurestore.errors import RequestError, near
from featurestore.models.frames.outputs import check_count, to_predictions
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.predictions import inference, predict
from featurestore.models.predictions.features import FeatureRows
from featurestore.models.stamps import locate_store, output_types
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.records.reader import Reader
from featurestore.store import FeatureStore, read_as
from featurestore.values import times
from featurestore.values.row_places import RECORDS, RowPlaces


class LoadedModel:
    """A stamped model in memory with a store; `predict` may be called from several threads.

    Raises: NotFound; RequestError for a model without a stamp; Conflict if the store has other tables.
    """

    def __init__(self, model_uri: str, store: FeatureStore, name: str | None = None, version: str | None = None) -> None:
        tracking.use_tracking(store.settings)
        folder = tempfile.mkdtemp(prefix="featurestore-artifacts-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        with limit_time(TRANSFER_SECONDS), translate_mlflow_errors("model", model_uri):
            downloaded = mlflow.artifacts.download_artifacts(local_path(model_uri), dst_path=folder)
        self._native = Native(Path(downloaded), allow_pickle=store.settings.allow_pickle, address=model_uri)
        self._store = store
        self.name = name or model_uri
        self.version = version
        locate_store.check_store(store, self.stamp)
        self.tables = tuple([store.backend.runtime.features_table(use.table) for use in self.stamp.plan.uses])
        self.logged = inference.logged_model(self.stamp, self._native.model.metadata, self.name, version)

    @property
    def stamp(self) -> Stamp:
        """The model's stamp."""
        return self._native.stamp

    @property
    def only_computes(self) -> bool:
        """Whether a prediction is a lookup and arithmetic of scikit-learn: it runs neither SQL nor code of the model's author."""
        return self._native.only_computes and not self.stamp.plan.derived

    @property
    def output_type(self) -> tuple[str, int | None]:
        """What the model predicts, as `output_types.output_type`."""
        return output_types.output_type(self._native)

    @property
    def model_id(self) -> str | None:
        """The id of the logged model in MLflow; None for one of an MLflow before version 3."""
        identifier: str | None = self._native.model.metadata.model_id
        return identifier

    def predict(self, records: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None = None) -> Prediction:
        """Predict for records of keys and request fields; features in a record override looked-up features. `params` are those of the
        signature of the model.

        Raises: RequestError and TypeMismatch naming the record and field, or the parameter; ModelError for an error of the model.
        """
        return self.finish(records, params).prediction

    def finish(
        self,
        records: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any] | None = None,
        places: RowPlaces = RECORDS,
        reader: Reader | None = None,
    ) -> "Finished":
        """As `predict`, with all that the predictions were made from, for the log. `places` are those of the records in errors.

        The model gets the features that `reader` may see; None: all.
        """
        self._check(records, places)
        if not records:
            return Finished(self, FeatureRows({}, {}), {}, Prediction([], self.name, self.version, {}, model_id=self.model_id))
        complete = self._native.check_params(params, places.params)
        store = self._store if reader is None else read_as(self._store, reader)
        answer, looked_up = predict.predict_online(self._native, store, records, params=complete, places=places)
        predictions = to_predictions(answer)
        check_count(predictions, len(records))
        status: dict[str, list[str | None]] = {label: list(states) for label, states in looked_up.status.items()}
        through = {table: None if at is None else times.moment(at) for table, at in looked_up.watermarks.items()}
        prediction = Prediction(
            predictions, self.name, self.version, dict(looked_up.snapshots), status, model_id=self.model_id, watermarks=through
        )
        return Finished(self, looked_up, complete, prediction)

    def positional_names(self, field: str, width: int) -> Sequence[str]:
        """The names of the values of a row without names in a field of the request: keys and request fields, then features.

        Raises: RequestError for a width that is neither that of the keys and request fields, nor that of all columns.
        """
        plan = self.stamp.plan
        needed = [*plan.entity_columns, *(name for name, _ in plan.request)]
        known = [*needed, *plan.feature_names]
        if width not in (len(needed), len(known)):
            raise RequestError(
                f"{field}: rows without names have {width} values, but model {self.name} takes {len(needed)} ({', '.join(needed)}), or"
                f" {len(known)} with all its features; send rows with names",
                field=field,
            )
        return known[:width]

    def _check(self, records: Sequence[Mapping[str, Any]], places: RowPlaces) -> None:
        known = self.stamp.plan.column_names
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise RequestError(f"{places.of_row(row)} is {type(record).__name__}, but must be an object: each field with its value")
            if not known.issuperset(record):
                name = next(name for name in record if name not in known)
                raise RequestError(
                    f"{places.of_row(row)}: '{name}' is not a key, request field or feature of model {self.name}{near(str(name), known)}",
                    field=places.of_field(row, str(name)),
                )


@dataclass(frozen=True)
class Finished:
    """A prediction with all that it was made from. `rows` are the looked-up columns and `params` the checked parameters of the model."""

    model: "LoadedModel"
    rows: FeatureRows
    params: Mapping[str, Any]
    prediction: Prediction

    def part(self, start: int, stop: int) -> "Finished":
        """The rows from `start` up to `stop`."""
        status = {label: states[start:stop] for label, states in self.prediction.status.items()}
        prediction = replace(self.prediction, predictions=self.prediction.predictions[start:stop], status=status)
        return Finished(self.model, self.rows.part(start, stop), self.params, prediction)
