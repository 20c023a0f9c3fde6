"""The operations that run as jobs: the path, request body and result of each, and the checks before it is queued."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from featurestore.dsl import durations
from featurestore.errors import RequestError
from featurestore.server import responses
from featurestore.server.jobs import handlers
from featurestore.server.requests import (
    Body,
    ComparisonBody,
    MaintenanceBody,
    MaterializationBody,
    PublicationBody,
    RebuildBody,
    RepairBody,
    VerificationBody,
)
from featurestore.store import FeatureStore, PrincipalStore
from featurestore.store.principal import Requirement
from featurestore.values import times
from featurestore.values.arguments import check_wait

Check = Callable[[FeatureStore, Any], dict[str, Any]]
"""Turns a request body into the JSON-ready request of the job. Raises the errors of the job that can be found early."""


FindNeeds = Callable[[PrincipalStore, Any], list[Requirement] | None]
"""The privileges that the body of a request needs; None: those of an administrator."""


@dataclass(frozen=True)
class Operation:
    """A kind of job with routes below `path` that start, watch and cancel it.

    `body` is the model of the request and `state` that of the response. `check` runs before the job is queued. `summary` and
    `after_cancel` are texts of the OpenAPI description: what the job does, and what remains of a cancelled one. `needs` says which
    privileges a request needs, None for one of an administrator; without `needs`, all are.
    """

    kind: str
    path: str
    tag: str
    body: type[Body]
    state: type[responses.JobState]
    check: Check
    summary: str
    after_cancel: str
    needs: FindNeeds | None = None

    @property
    def has_default(self) -> bool:
        """Whether the request body may be omitted."""
        return not any(field.is_required() for field in self.body.model_fields.values())


def check_views(store: FeatureStore, body: PublicationBody | VerificationBody) -> dict[str, Any]:
    """The request, after checking that its views exist. Raises: NotFound with the nearest names."""
    for name in body.names or []:
        store.view(name)
    return body.model_dump()


def check_materialization(store: FeatureStore, body: MaterializationBody) -> dict[str, Any]:
    """The request, with `wait` in microseconds. Raises: NotFound for an unknown view; RequestError for an invalid interval or wait."""
    for name in body.names or []:
        store.view(name)
    for field, bound in (("start", body.start), ("end", body.end)):
        if bound is not None:
            times.parse(bound, field)
    return {**body.model_dump(), "wait": _wait(body.wait)}


def check_maintenance(store: FeatureStore, body: MaintenanceBody) -> dict[str, Any]:
    """The request with its ages in microseconds. Raises: RequestError if an age is not a duration."""
    superseded = body.drop_superseded_after
    ages = {
        "older_than": _age("older_than", body.older_than),
        "drop_superseded_after": None if superseded is None else _age("drop_superseded_after", superseded),
    }
    return {**ages, "dry_run": body.dry_run, "wait": _wait(body.wait)}


def check_rebuild(store: FeatureStore, body: RebuildBody) -> dict[str, Any]:
    """The request. Raises: NotFound for an unknown id; RequestError for a model URI of another server."""
    store.backend.check_training_set(body.id, "id")
    return body.model_dump()


def check_comparison(store: FeatureStore, body: ComparisonBody) -> dict[str, Any]:
    """The request. Raises: as `check_rebuild`."""
    for field, id_or_uri in (("a", body.a), ("b", body.b)):
        store.backend.check_training_set(id_or_uri, field)
    return body.model_dump()


def check_repair(store: FeatureStore, body: RepairBody) -> dict[str, Any]:
    """The request."""
    return body.model_dump()


def needs_of_materialization(store: PrincipalStore, body: MaterializationBody) -> list[Requirement] | None:
    """WRITE and READ on each view; for all views, the rights of an administrator."""
    return store.needs_of_materialization(body.names)


def needs_of_publication(store: PrincipalStore, body: PublicationBody) -> list[Requirement] | None:
    """MANAGE on each view; for all views, the rights of an administrator."""
    return store.needs_of_publication(body.names)


def needs_of_rebuild(store: PrincipalStore, body: RebuildBody) -> list[Requirement] | None:
    """READ on the training set."""
    return store.needs_of_training_sets(body.id)


def needs_of_comparison(store: PrincipalStore, body: ComparisonBody) -> list[Requirement] | None:
    """READ on both training sets."""
    return store.needs_of_training_sets(body.a, body.b)


def _wait(value: str) -> int:
    check_wait(timedelta(microseconds=(wait := _age("wait", value))))
    return wait


def _age(field: str, value: str) -> int:
    try:
        microseconds = durations.microseconds(value)
        timedelta(microseconds=microseconds)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"{field}: {error}", field=field) from error
    return microseconds


OPERATIONS: Sequence[Operation] = (
    Operation(
        handlers.MATERIALIZATION,
        "/v1/materializations",
        "materializations",
        MaterializationBody,
        responses.Materialization,
        check_materialization,
        "Compute the features of views up to `end` (default: now), from their watermarks or from `start`, and write them to their feature "
        "tables and the online store.\n\nRepeating an interval appends nothing. Materializations wait for one another.",
        "Views that it has finished stay updated. Completed chunks of a backfill are kept, and the next run resumes after them.",
        needs_of_materialization,
    ),
    Operation(
        handlers.PUBLICATION,
        "/v1/publications",
        "materializations",
        PublicationBody,
        responses.Publication,
        check_views,
        "Publish feature tables to the online store, as the next materialization would, without computing features.",
        "Tables that it has published stay published.",
        needs_of_publication,
    ),
    Operation(
        handlers.VERIFICATION,
        "/v1/verifications",
        "materializations",
        VerificationBody,
        responses.Verification,
        check_views,
        "Compare online rows with the newest rows of their feature tables, bit for bit.",
        "It changes nothing.",
    ),
    Operation(
        handlers.REBUILD,
        "/v1/rebuilds",
        "training sets",
        RebuildBody,
        responses.Rebuild,
        check_rebuild,
        "Rebuild a training set from its pinned snapshots and compare the rows. A model URI stands for the model's training set.\n\n"
        "If the rows differ, the job fails with DigestMismatch, which names the columns.",
        "It changes nothing.",
        needs_of_rebuild,
    ),
    Operation(
        handlers.COMPARISON,
        "/v1/comparisons",
        "training sets",
        ComparisonBody,
        responses.ComparisonState,
        check_comparison,
        "Compare training set `b` with `a`: definitions, rows, values, drift, and their causes. Each may be an id or a model URI.",
        "It changes nothing.",
        needs_of_comparison,
    ),
    Operation(
        handlers.MAINTENANCE,
        "/v1/maintenance",
        "maintenance",
        MaintenanceBody,
        responses.Maintenance,
        check_maintenance,
        "Expire snapshots that nothing pins, remove orphan files, and compact small files into sorted ones.",
        "Each table is either maintained or unchanged.",
    ),
    Operation(
        handlers.REPAIR,
        "/v1/repairs",
        "maintenance",
        RepairBody,
        responses.Repairs,
        check_repair,
        "Roll every table with missing files back to its last complete snapshot.",
        "Each table is either rolled back or unchanged.",
    ),
)
