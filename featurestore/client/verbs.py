"""The methods of a feature store behind a server, as exchanges: what they send, and how they read the answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from featurestore.client import decoding, json_rows, scoring, spines
from featurestore.client.access import AccessVerbs
from featurestore.client.answers import reading_answer
from featurestore.client.arguments import path_part, seconds_text, time_text, wait_text
from featurestore.client.audit_log import AuditLogVerbs
from featurestore.client.decoding import check_object
from featurestore.client.governance import Governance
from featurestore.client.sharing import SharingVerbs
from featurestore.client.steps import Exchange, Request, Work, delete, post
from featurestore.client.tables import TableVerbs
from featurestore.compiler import check
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.documents import definitions_document
from featurestore.dsl.loader import load_definitions
from featurestore.errors import DefinitionError, RequestError, brief
from featurestore.files.git_commit import common_commit
from featurestore.pipelines.maintenance.erasure_result import Erasure
from featurestore.pipelines.maintenance.maintain import TableMaintenance
from featurestore.pipelines.maintenance.named_version import NamedVersion
from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
from featurestore.pipelines.maintenance.removal import Removal
from featurestore.pipelines.maintenance.repair import Repair
from featurestore.pipelines.maintenance.training_set_removal import TrainingSetRemoval
from featurestore.pipelines.materialization.edition import Publication
from featurestore.pipelines.materialization.materialize import ViewProgress
from featurestore.pipelines.materialization.outcome import Materializations
from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.pipelines.planning.plan import Plan
from featurestore.progress import MaterializationProgress, materialization_reporter
from featurestore.records.names import service_name, view_name, view_names
from featurestore.values.arguments import (
    WAIT,
    Failures,
    check_column_names,
    check_failures,
    check_flag,
    check_name,
    check_sample,
    check_text,
    check_version,
)
from featurestore.values.pandas_frames import frame_like
from featurestore.values.value_types import FLOATING

ARROW_ENTITIES = 200
"""From so many entities on, Arrow is faster to read, and the server does not answer JSON from stored bytes any more."""


class ServerVerbs(TableVerbs, Governance, AccessVerbs, SharingVerbs, AuditLogVerbs):
    """The methods of a server, for threads and asyncio alike. `FeatureStore` documents those that a local store has, too."""

    def plan(self, definitions: Any) -> Exchange[Plan]:
        """What applying these definitions would change. Files are run here; the server receives their definitions as JSON."""
        checked = yield Work(partial(_load_checked, definitions))
        return (yield from self._send_definitions("/v1/plan", checked, {}, safe=True))

    def apply(self, definitions: Any) -> Exchange[Plan]:
        """Apply a plan or definitions, all or nothing. Raises: CommitConflict if definitions were applied since the plan was made."""
        fields: dict[str, Any] = {}
        if isinstance(definitions, Plan):
            checked = definitions.definitions
            fields["base"] = None if definitions.base is None else str(definitions.base)
        else:
            checked = yield Work(partial(_load_checked, definitions))
        commit = yield Work(partial(common_commit, checked))
        if commit is not None:
            fields["commit"] = commit
        return (yield from self._send_definitions("/v1/apply", checked, fields))

    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: MaterializationProgress = None,
        failures: Failures = "raise",
        wait: timedelta = WAIT,
    ) -> Exchange[Materializations]:
        """Compute views up to `end`, and wait for it."""
        raise_error = check_failures(failures) == "raise"
        options = {"start": time_text(start, "start"), "end": time_text(end, "end"), "wait": wait_text(wait)}
        with materialization_reporter(progress) as report:
            job = yield post("/v1/materializations", {"names": view_names(names), **options})
            on_progress = None if report is None else lambda state: report(ViewProgress(**state))
            ended = yield from self._calls.wait_for_job(job, on_progress, check=False)
        with reading_answer(self._url):
            done, error = decoding.decode_materializations(ended)
        if error is not None and (raise_error or not done.failures):
            raise error
        return done

    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> Exchange[list[Publication]]:
        """Publish feature tables to the online store, as the next `materialize` would, without computing anything."""
        return self._calls.run_listing_job(Publication, "/v1/publications", {"names": view_names(names), "full": check_flag(full, "full")})

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> Exchange[list[OnlineComparison]]:
        """Compare the online rows of views with the newest rows of their feature tables, bit for bit.

        Values of differences are as JSON has them: decimals, dates and times are text.
        """
        return self._calls.run_listing_job(
            OnlineComparison, "/v1/verifications", {"names": view_names(names), "sample": check_sample(sample)}
        )

    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Exchange[Removal]:
        """Remove an older version of a view with its table and its online rows."""
        return self._calls.delete(
            Removal, f"/v1/views/{path_part(view_name(view), 'view')}/versions/{check_version(version)}", check_flag(dry_run, "dry_run")
        )

    def remove_view(self, view: str, dry_run: bool = False) -> Exchange[Removal]:
        """Remove a view with all its versions."""
        return self._calls.delete(Removal, f"/v1/views/{path_part(view_name(view), 'view')}", check_flag(dry_run, "dry_run"))

    def remove_service(self, service: str, dry_run: bool = False) -> Exchange[Removal]:
        """Remove a service with all its versions."""
        return self._calls.delete(Removal, f"/v1/services/{path_part(service_name(service), 'service')}", check_flag(dry_run, "dry_run"))

    def remove_training_set(self, id: str, dry_run: bool = False) -> Exchange[TrainingSetRemoval]:
        """Remove a training set that no model was trained on."""
        path = f"/v1/training-sets/{path_part(check_name(id, 'id'), 'id')}/data"
        return self._calls.delete(TrainingSetRemoval, path, check_flag(dry_run, "dry_run"))

    def maintain(
        self,
        older_than: timedelta = timedelta(days=7),
        dry_run: bool = False,
        drop_superseded_after: timedelta | None = None,
        wait: timedelta = WAIT,
    ) -> Exchange[list[TableMaintenance]]:
        """Expire snapshots that nothing pins, remove orphan files, and compact small files; ages in whole seconds."""
        body: dict[str, Any] = {"older_than": seconds_text(older_than, "older_than"), "dry_run": check_flag(dry_run, "dry_run")}
        body["wait"] = wait_text(wait)
        if drop_superseded_after is not None:
            body["drop_superseded_after"] = seconds_text(drop_superseded_after, "drop_superseded_after")
        return self._calls.run_listing_job(TableMaintenance, "/v1/maintenance", body)

    def tag(self, name: str, tables: str | Sequence[str] | None = None, *, by: str | None = None) -> Exchange[NamedVersion]:
        """Pin the current snapshots of tables under a name; without `by`, the server records whose key it is."""
        who = None if by is None else check_name(by, "by")
        names = None if tables is None else check_column_names(tables, "tables")
        body = {"name": check_text(name, "name"), "tables": names, "by": who}
        return self._calls.read_result(NamedVersion, post("/v1/tags", body, unlimited=True))

    def tags(self) -> Exchange[list[NamedVersion]]:
        """The named versions, newest first."""
        return self._calls.get_results(NamedVersion, "/v1/tags")

    def remove_tag(self, name: str) -> Exchange[NamedVersion]:
        """Remove a named version."""
        return self._calls.read_result(NamedVersion, delete(f"/v1/tags/{path_part(check_name(name, 'name'), 'name')}"))

    def erase(self, entity: str, key: Any, dry_run: bool = False, *, by: str | None = None) -> Exchange[Erasure]:
        """Erase the rows of an entity's key; without `by`, the server records whose key it is."""
        who = None if by is None else check_name(by, "by")
        flag = check_flag(dry_run, "dry_run")
        values = dict(key) if isinstance(key, Mapping) else key
        body = {"entity": check_name(entity, "entity"), "key": values, "dry_run": flag, "by": who}
        headers = {"Content-Type": "application/json"}
        try:
            content = json_rows.encode_body(body)
        except (TypeError, ValueError) as error:
            raise RequestError(f"key={brief(key)} is neither a value nor an object of values: {error}", field="key") from error
        request = post("/v1/erasures", content=content, headers=headers, safe=flag, unlimited=True)
        return self._calls.read_result(Erasure, request)

    def erasures(self) -> Exchange[list[Erasure]]:
        """The certificates of all erasures, newest first."""
        return self._calls.get_results(Erasure, "/v1/erasures")

    def repair(self, dry_run: bool = False) -> Exchange[list[Repair]]:
        """Roll every table with missing files back to its last complete snapshot."""
        return self._calls.run_listing_job(Repair, "/v1/repairs", {"dry_run": check_flag(dry_run, "dry_run")})

    def online_features(
        self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> Exchange[OnlineFeatures]:
        """The newest features of each entity."""
        name = service_name(service)
        body = {"entities": json_rows.check_entities(entities, "entities")}
        if request is not None:
            body["request"] = json_rows.check_entities(request, "request")
        if any(map(json_rows.has_nan, body.values())):
            described = yield from self.service(name)
            floats = [name for name, sql_type in {**described.key_types, **described.request}.items() if sql_type in FLOATING]
            body = {argument: json_rows.without_nan(rows, floats) for argument, rows in body.items()}
        path = f"/v1/services/{path_part(name, 'service')}/online"
        if len(body["entities"]) >= ARROW_ENTITIES:
            rows = yield _post_json(path, body, rows=True)
            with reading_answer(self._url):
                return decoding.decode_online_stream(rows)
        answer = yield _post_json(path, body)
        with reading_answer(self._url):
            return decoding.decode_online_features(answer)

    def predict(
        self,
        model: str,
        records: Sequence[Mapping[str, Any]],
        version: int | str | None = None,
        alias: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Exchange[Prediction]:
        """Predict for rows of keys and request fields, with the newest features of the server's online store.

        `model` is a registered name; without `version` and `alias`, its approved version predicts (the setting `default_alias` of the
        server). `params` are those of the model's signature. Features in a record override the looked-up ones. Raises: NotFound;
        RequestError and TypeMismatch naming the record and field; ModelError for an error of the model.
        """
        return self._predict(model, records, version, alias, params)

    def score(self, model_uri: str, spine: Any, at: str | None = "online", *, format: Csv | None = None) -> Exchange[Any]:
        """The spine's rows in their order, then `prediction`: what a registered model predicts from the newest online features.

        `model_uri` is models:/name/1 or models:/name@alias; `spine` a frame, an Arrow table or reader, a list of dicts, or files. Other
        values of `at`, and tables and SQL, need a local store and `featurestore.models.score`. Returns a pandas or polars frame for one,
        else an Arrow table. Raises: NotFound; RequestError and TypeMismatch naming the record and field.
        """
        address = scoring.parse_address(model_uri)
        rows = yield Work(partial(scoring.read_rows, spine, at, format))
        model = scoring.find_model((yield from self.models()), address)
        taken = None if model is None else (yield from self.get_training_set(model.training_set)).plan.column_names
        predictions: list[Any] = []
        for records in scoring.batches(rows, taken):
            prediction = yield from self._predict(address["name"], records, address["version"], address["alias"], unlimited=True)
            predictions.extend(prediction.predictions)
        return (yield Work(lambda: frame_like(spine, scoring.append_predictions(rows, predictions))))

    def _predict(
        self,
        model: str,
        records: Sequence[Mapping[str, Any]],
        version: int | str | None,
        alias: str | None,
        params: Mapping[str, Any] | None = None,
        unlimited: bool = False,
    ) -> Exchange[Prediction]:
        query = {} if version is None else {"version": str(check_version(version))}
        if alias is not None:
            query["alias"] = check_name(alias, "alias")
        body: dict[str, Any] = {"dataframe_records": json_rows.without_nan(json_rows.check_records(records))}
        if params is not None:
            body["params"] = json_rows.check_params(params)
        answer = yield _post_json(f"/v1/models/{path_part(model, 'model')}/invocations", body, params=query, unlimited=unlimited)
        with reading_answer(self._url):
            return Prediction.from_dict(check_object(answer))

    def _send_definitions(self, path: str, definitions: Definitions, fields: Mapping[str, Any], safe: bool = False) -> Exchange[Plan]:
        """The plan that the server answers. Raises: DefinitionError with the files and lines of the problems."""
        try:
            answer = yield post(path, {"definitions": definitions_document(definitions), **fields}, unlimited=True, safe=safe)
        except DefinitionError as error:
            raise decoding.with_locations(error, definitions) from None
        with reading_answer(self._url):
            return decoding.decode_plan(answer, definitions)


def _load_checked(definitions: Any) -> Definitions:
    """Load definitions and check them as far as that needs no server. Raises: DefinitionError with all problems."""
    loaded = load_definitions(definitions)
    problems = [*loaded.problems, *check.definition_problems(loaded)]
    if problems:
        raise DefinitionError(problems)
    return loaded


def _post_json(path: str, body: Any, *, rows: bool = False, **options: Any) -> Request:
    """A safe request with a body whose values may be dates, decimals and NaN; with `rows`, it asks for Arrow."""
    headers = {"Content-Type": "application/json", **({"Accept": spines.ARROW} if rows else {})}
    return post(path, content=json_rows.encode_body(body), headers=headers, safe=True, rows=rows, **options)
