"""`connect` gives the verbs of a feature store that runs elsewhere: the same arguments, results and errors as at home."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import pyarrow as pa

from featurestore.client import decoding, scoring, spines
from featurestore.client.transport import Transport, in_form
from featurestore.compiler import check
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.documents import definitions_document
from featurestore.dsl.loader import load_definitions
from featurestore.errors import DefinitionError, NotFound, RequestError, brief
from featurestore.pipelines.lookup import OnlineFeatures
from featurestore.pipelines.maintenance.maintain import TableMaintenance
from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
from featurestore.pipelines.maintenance.removal import Removal
from featurestore.pipelines.maintenance.repair import Repair
from featurestore.pipelines.materialization.edition import Publication
from featurestore.pipelines.materialization.materialize import ViewProgress
from featurestore.pipelines.materialization.outcome import Materializations
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.prediction import Prediction
from featurestore.pipelines.training_sets import splits
from featurestore.pipelines.training_sets.comparison_result import Comparison
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.listing import TrainingSetInfo
from featurestore.pipelines.training_sets.progress import BuildProgress
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.progress import MaterializationProgress, TrainingSetProgress, materialization_reporter, training_set_reporter
from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
from featurestore.records.names import service_name, view_name, view_names
from featurestore.spines.join_request import JoinRequest
from featurestore.values import json_encoding, times
from featurestore.values.arguments import (
    Failures,
    Known,
    check_age,
    check_failures,
    check_flag,
    check_sample,
    check_text,
    check_version,
)
from featurestore.values.arguments import check_name as named
from featurestore.values.pandas_frames import frame_like
from featurestore.values.result import Result
from featurestore.values.value_types import FLOATING

Found = TypeVar("Found", bound=Result)

JOB_PATHS: Mapping[str, str] = {
    "materialization": "/v1/materializations",
    "publication": "/v1/publications",
    "verification": "/v1/verifications",
    "rebuild": "/v1/rebuilds",
    "comparison": "/v1/comparisons",
    "maintenance": "/v1/maintenance",
    "repair": "/v1/repairs",
}
"""The path of each kind of job, which its id begins with; the ids of training sets begin with their names."""


def connect(url: str, token: str | None = None, timeout: float = 30.0) -> "RemoteStore":
    """The store behind a server such as `http://host:8080`. Nothing is asked of it yet.

    `timeout` is how many seconds any one answer may take; work that the server does in the background may take longer.
    """
    return RemoteStore(Transport(url, token, timeout))


class RemoteStore:
    """A feature store behind a server; see `FeatureStore` for what each verb does. May be used from several threads."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    def plan(self, definitions: Any) -> Plan:
        """What applying these definitions would change. Files are run here; the server gets what they define, as JSON."""
        gathered = _sound(definitions)
        try:
            answer = self._http.post("/v1/plan", {"definitions": definitions_document(gathered)}, patient=True)
        except DefinitionError as error:
            raise decoding.placed(error, gathered) from None
        with in_form(self._http.url):
            return decoding.plan(answer, gathered)

    def apply(self, definitions: Any) -> Plan:
        """Do a plan, or plan and do definitions: all or nothing. A plan is refused if someone applied anything since it was made."""
        planned = definitions if isinstance(definitions, Plan) else None
        gathered = planned.definitions if planned is not None else _sound(definitions)
        body: dict[str, Any] = {"definitions": definitions_document(gathered)}
        if planned is not None:
            body["base"] = None if planned.base is None else str(planned.base)
        try:
            answer = self._http.post("/v1/apply", body, patient=True)
        except DefinitionError as error:
            raise decoding.placed(error, gathered) from None
        with in_form(self._http.url):
            return decoding.plan(answer, gathered)

    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: MaterializationProgress = None,
        failures: Failures = "raise",
    ) -> Materializations:
        """Bring views up to `end`, and wait for it."""
        raised = check_failures(failures) == "raise"
        bounds = {
            what: bound if bound is None else check_text(bound, what) if isinstance(bound, str) else times.text(times.parse(bound, what))
            for what, bound in (("start", start), ("end", end))
        }
        job = self._http.post("/v1/materializations", {"names": view_names(names), **bounds})
        with materialization_reporter(progress) as report:
            seen = None if report is None else lambda told: report(ViewProgress(**told))
            ended = self._awaited(job, seen, failing=False)
        with in_form(self._http.url):
            done, error = decoding.materializations(ended)
        if error is not None and (raised or not done.failures):
            raise error
        return done

    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[Publication]:
        """Publish feature tables to the online store, as the next `materialize` would, without computing anything."""
        return self._listed(Publication, "/v1/publications", {"names": view_names(names), "full": check_flag(full, "full")})

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[OnlineComparison]:
        """Compare the online rows of views with the newest rows of their feature tables, bit for bit.

        Values of differences are as JSON has them: decimals, dates and times are text.
        """
        return self._listed(OnlineComparison, "/v1/verifications", {"names": view_names(names), "sample": check_sample(sample)})

    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """Remove an older version of a view with its table and its online rows."""
        return self._remove(f"/v1/views/{_part(view_name(view), 'view')}/versions/{check_version(version)}", dry_run)

    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """Remove a view with all its versions."""
        return self._remove(f"/v1/views/{_part(view_name(view), 'view')}", dry_run)

    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """Remove a service with all its versions."""
        return self._remove(f"/v1/services/{_part(service_name(service), 'service')}", dry_run)

    def maintain(
        self, older_than: timedelta = timedelta(days=7), dry_run: bool = False, fold_older_than: timedelta | None = None
    ) -> list[TableMaintenance]:
        """Expire snapshots that nothing pins, remove orphan files, and compact small files; ages in whole seconds."""
        body: dict[str, Any] = {"older_than": _seconds(older_than, "older_than"), "dry_run": check_flag(dry_run, "dry_run")}
        if fold_older_than is not None:
            body["fold_older_than"] = _seconds(fold_older_than, "fold_older_than")
        return self._listed(TableMaintenance, "/v1/maintenance", body)

    def repair(self, dry_run: bool = False) -> list[Repair]:
        """Roll every table with missing files back to its last complete snapshot."""
        return self._listed(Repair, "/v1/repairs", {"dry_run": check_flag(dry_run, "dry_run")})

    def training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Mapping[str, int | None] | None = None,
        split: splits.SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        progress: TrainingSetProgress = None,
        format: Csv | None = None,
    ) -> TrainingSet:
        """Join a spine with a service's features as of each row's time, store the result, and wait for it.

        A frame or a file of this machine is uploaded; "iceberg:..." and SQL are the server's own tables, and with `start`, `end`
        and `every` the server makes the spine. `format` says how a spine's CSV files are written.
        """
        request = TrainingSetRequest.of(
            service,
            spine,
            timestamp,
            start=start,
            end=end,
            every=every,
            format=format,
            known=known,
            snapshots=snapshots,
            label=label,
            name=name,
            split=split,
            by=by,
        )
        with spines.request(request) as options:
            job = self._http.post("/v1/training-sets", patient=True, **options)
        with training_set_reporter(progress) as report:
            done = self._awaited(job, None if report is None else lambda told: report(BuildProgress(**told)))
        return self._training_set(done["manifest"])

    def cancel(self, id: str) -> str:
        """Cancel the job with this id; its state then: `cancelled`, or `failed` if it had failed before.

        Nothing of a training set remains, and the same request builds it. Raises: NotFound; Conflict if it is done.
        """
        kind, _, _ = check_text(id, "id").rpartition("-")
        # A training set may be named like a kind of job.
        if kind in JOB_PATHS:
            with suppress(NotFound):
                return str(self._http.delete(f"{JOB_PATHS[kind]}/{_part(id, 'id')}")["state"])
        return str(self._http.delete(f"/v1/training-sets/{_part(id, 'id')}")["state"])

    def get_training_set(self, id: str) -> TrainingSet:
        """A stored training set. Raises: NotFound with the nearest ids."""
        return self._training_set(self._http.watch(f"/v1/training-sets/{_part(id, 'id')}")["manifest"])

    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """Let the server compute a training set again from its pinned snapshots and compare. Raises: DigestMismatch."""
        result = self._result_of("/v1/rebuilds", {"id": named(id_or_model_uri, "id_or_model_uri")})
        with in_form(self._http.url):
            manifest = decoding.object_of(result["manifest"])
        return self._training_set(manifest)

    def compare(self, a: str, b: str) -> Comparison:
        """The differences of training set `b` from `a`. A model URI stands for the model's training set."""
        result = self._result_of("/v1/comparisons", {"a": named(a, "a"), "b": named(b, "b")})
        with in_form(self._http.url):
            return Comparison.from_dict(decoding.object_of(result))

    def point_in_time(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        known: Known = "now",
        snapshots: Mapping[str, int | None] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> pa.Table:
        """The spine, or one made as for `training_set`, with a service's features as of each row's time, not stored."""
        request = JoinRequest.of(
            service, spine, timestamp, start=start, end=end, every=every, format=format, known=known, snapshots=snapshots
        )
        with spines.request(request) as options:
            return self._http.rows("POST", "/v1/point-in-time", timeout=None, **options).read_all()

    def online_features(
        self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """The newest features of each entity."""
        for what, given in (("entities", entities), ("request", request)):
            if (given is not None or what == "entities") and not _is_list(given):
                raise RequestError(f"{what} must be a list of objects, one for each entity", field=what)
        body = json_encoding.dumps(self._told(service_name(service), entities, request))
        headers = {"Content-Type": "application/json"}
        answer = self._http.post(f"/v1/services/{_part(service_name(service), 'service')}/online", content=body, headers=headers)
        with in_form(self._http.url):
            return decoding.online(answer)

    def _told(self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
        """The body of a lookup: a NaN is one where the service has a float, and else NULL, as in the store itself."""
        body = {"entities": list(entities), "request": None if request is None else list(request)}
        if any(_is_nan(value) for rows in body.values() for row in rows or () if isinstance(row, Mapping) for value in row.values()):
            described = self.service(service)
            floats = [name for name, kind in {**described.key_types, **described.request}.items() if kind in FLOATING]
            return {what: None if rows is None else [_without_nan(row, floats) for row in rows] for what, rows in body.items()}
        return body

    def predict(
        self, model: str, records: Sequence[Mapping[str, Any]], version: int | str | None = None, alias: str | None = None
    ) -> Prediction:
        """Predict for rows of keys and request fields, with the newest features of the server's online store.

        `model` is a registered name. Features in a record override the looked-up ones. Raises: NotFound; RequestError and
        TypeMismatch naming the record and field.
        """
        if not _is_list(records) or not all(isinstance(record, Mapping) for record in records):
            raise RequestError(f"records={brief(records)} is no list of objects, one for each row", field="records")
        wanted = {} if version is None else {"version": str(check_version(version))}
        if alias is not None:
            wanted["alias"] = named(alias, "alias")
        # A NaN is what frames have for a value that is missing.
        body = json_encoding.dumps({"dataframe_records": [_without_nan(record, ()) for record in records]})
        headers = {"Content-Type": "application/json"}
        path = f"/v1/models/{_part(model, 'model')}/invocations"
        answer = self._http.post(path, content=body, headers=headers, params=wanted, patient=True)
        with in_form(self._http.url):
            return Prediction.from_dict(decoding.object_of(answer))

    def score(self, model_uri: str, spine: Any, at: str | None = "online", *, format: Csv | None = None) -> Any:
        """The spine's rows in their order, then `prediction`: what a registered model predicts from the newest online features.

        `model_uri` is models:/name/1 or models:/name@alias; `spine` a frame, an Arrow table or reader, a list of dicts, or files. Other
        values of `at`, and tables and SQL, need a local store and `featurestore.models.score`. Returns a pandas or polars frame for one,
        else an Arrow table. Raises: NotFound; RequestError and TypeMismatch naming the record and field.
        """
        address = scoring.parse_address(model_uri)
        rows = scoring.read_rows(spine, at, format)
        model = scoring.find_model(self.models(), address)
        taken = None if model is None else self.get_training_set(model.training_set).plan.column_names
        return frame_like(spine, scoring.append_predictions(rows, taken, address, self.predict))

    def parts(self) -> dict[str, str]:
        """What the server stands on, by name, and how each is. Raises: NotReady for one that cannot be reached."""
        return self._object("/readyz")

    def entities(self) -> list[EntityInfo]:
        """The applied entities."""
        return self._results(EntityInfo, "/v1/entities")

    def sources(self) -> list[SourceInfo]:
        """The applied sources."""
        return self._results(SourceInfo, "/v1/sources")

    def views(self) -> list[ViewInfo]:
        """The newest version of every view, with its snapshot and watermark."""
        return self._results(ViewInfo, "/v1/views")

    def view(self, name: str) -> ViewDetail:
        """One view with all versions and the SQL of the newest. Raises: NotFound with the nearest names."""
        return self._result(ViewDetail, f"/v1/views/{_part(view_name(name), 'name')}")

    def services(self) -> list[ServiceInfo]:
        """Every service at the version that is served."""
        return self._results(ServiceInfo, "/v1/services")

    def service(self, name: str) -> ServiceDetail:
        """One service: features, request fields, key columns, versions. Raises: NotFound with the nearest names."""
        return self._result(ServiceDetail, f"/v1/services/{_part(service_name(name), 'name')}")

    def training_sets(self) -> list[TrainingSetInfo]:
        """Every training set, newest first."""
        return self._results(TrainingSetInfo, "/v1/training-sets")

    def models(self) -> list[ModelInfo]:
        """Every version of every model that was logged with a training set, newest first, with its aliases."""
        return self._results(ModelInfo, "/v1/models")

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _awaited(self, job: Mapping[str, Any], seen: Callable[[dict[str, Any]], None] | None, failing: bool = True) -> dict[str, Any]:
        with in_form(self._http.url):
            id, url = str(job["id"]), str(job["url"])
        try:
            return self._http.watch(url, seen, failing)
        except KeyboardInterrupt as stop:
            stop.add_note(f"The server goes on: cancel({id!r}) ends it; the same call again waits for it.")
            raise

    def _result_of(self, path: str, body: Mapping[str, Any]) -> Any:
        """The result of a job, at its end. Raises: the error with which it failed."""
        with in_form(self._http.url):
            job = decoding.object_of(self._http.post(path, body))
        ended = self._awaited(job, None)
        with in_form(self._http.url):
            return ended["result"]

    def _listed(self, kind: type[Found], path: str, body: Mapping[str, Any]) -> list[Found]:
        result = self._result_of(path, body)
        with in_form(self._http.url):
            return [kind.from_dict(item) for item in decoding.objects_of(result)]

    def _remove(self, path: str, dry_run: bool) -> Removal:
        answer = self._http.delete(path, dry_run=check_flag(dry_run, "dry_run"))
        with in_form(self._http.url):
            return Removal.from_dict(answer)

    def _object(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self._http.get(path, **params)
        with in_form(self._http.url):
            return decoding.object_of(answer)

    def _result(self, kind: type[Found], path: str, **params: Any) -> Found:
        answer = self._http.get(path, **params)
        with in_form(self._http.url):
            return kind.from_dict(decoding.object_of(answer))

    def _results(self, kind: type[Found], path: str) -> list[Found]:
        answer = self._http.get(path)
        with in_form(self._http.url):
            return [kind.from_dict(item) for item in decoding.objects_of(answer)]

    def _training_set(self, manifest: dict[str, Any]) -> TrainingSet:
        with in_form(self._http.url):
            path = f"/v1/training-sets/{_part(manifest['id'], 'id')}"

        def rows(part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
            params = {"split": part, "columns": None if columns is None else list(columns)}
            return self._http.rows("GET", f"{path}/data", params={name: value for name, value in params.items() if value is not None})

        def located() -> Files:
            found = self._http.get(f"{path}/files")
            return Files(found["files"], found["table"], int(found["snapshot_id"]))

        return TrainingSet(manifest, rows, located, functools.partial(self._http.get, f"{path}/statistics", patient=True))


def _sound(definitions: Any) -> Definitions:
    """Definitions without a problem that can be found here. Raises: DefinitionError with all that can."""
    gathered = load_definitions(definitions)
    problems = [*gathered.problems, *check.definition_problems(gathered)]
    if problems:
        raise DefinitionError(problems)
    return gathered


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def _seconds(given: timedelta, what: str) -> str:
    return f"{int(check_age(given, what).total_seconds())}s"


def _part(given: Any, what: str, safe: str = "") -> str:
    """A check_name as a part of a path. A model's URI keeps its slashes."""
    return quote(named(given, what), safe=f":{safe}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _without_nan(row: Any, kept: Collection[str]) -> Any:
    """The row with None for each NaN but those of the columns `kept`."""
    if not isinstance(row, Mapping):
        return row
    return {name: None if _is_nan(value) and name not in kept else value for name, value in row.items()}
