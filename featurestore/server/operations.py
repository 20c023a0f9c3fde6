"""Long operations that run as jobs: for each, its path, what may be asked for, and what can be refused before it is queued."""

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
from featurestore.store import FeatureStore
from featurestore.values import times

Check = Callable[[FeatureStore, Any], dict[str, Any]]
"""Takes the body of a request and returns the JSON-ready request of its job. Raises early what the job would raise."""


@dataclass(frozen=True)
class Operation:
    """A kind of job with its routes below `path`: start, watch and cancel.

    `body` is the model of the request, `state` that of the answer; `check` refuses what cannot work. `what` describes the start.
    `kept` describes what a cancelled job leaves.
    """

    kind: str
    path: str
    tag: str
    body: type[Body]
    state: type[responses.JobState]
    check: Check
    what: str
    kept: str

    @property
    def has_default(self) -> bool:
        """Whether a request without a body is valid."""
        return not any(field.is_required() for field in self.body.model_fields.values())


def check_views(store: FeatureStore, body: PublicationBody | VerificationBody) -> dict[str, Any]:
    """The request, if all of its views exist. Raises: NotFound with the nearest names."""
    for name in body.names or []:
        store.view(name)
    return body.model_dump()


def check_materialization(store: FeatureStore, body: MaterializationBody) -> dict[str, Any]:
    """The request, if its views exist and its bounds are times. Raises: NotFound; RequestError."""
    for name in body.names or []:
        store.view(name)
    for what, bound in (("start", body.start), ("end", body.end)):
        if bound is not None:
            times.parse(bound, what)
    return body.model_dump()


def check_maintenance(store: FeatureStore, body: MaintenanceBody) -> dict[str, Any]:
    """The request with its ages in microseconds. Raises: RequestError for what is not a duration."""
    fold = body.fold_older_than
    ages = {"older_than": _age("older_than", body.older_than), "fold_older_than": None if fold is None else _age("fold_older_than", fold)}
    return {**ages, "dry_run": body.dry_run}


def check_rebuild(store: FeatureStore, body: RebuildBody) -> dict[str, Any]:
    """The request. Raises: NotFound for an unknown id; RequestError for a model URI of another server."""
    store.backend.check_training_set(body.id, "id")
    return body.model_dump()


def check_comparison(store: FeatureStore, body: ComparisonBody) -> dict[str, Any]:
    """The request. Raises: as `check_rebuild`."""
    for argument, address in (("a", body.a), ("b", body.b)):
        store.backend.check_training_set(address, argument)
    return body.model_dump()


def check_repair(store: FeatureStore, body: RepairBody) -> dict[str, Any]:
    """The request."""
    return body.model_dump()


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
        "Bring views up to `end` (now), from their watermarks or from `start` on, in their feature tables and online.\n\n"
        "The same interval again appends nothing. Materializations wait for one another.",
        "Views that it has updated stay so, as do whole chunks of a backfill, from which the next run resumes.",
    ),
    Operation(
        handlers.PUBLICATION,
        "/v1/publications",
        "materializations",
        PublicationBody,
        responses.Publication,
        check_views,
        "Publish feature tables to the online store, as the next materialization would, without computing anything.",
        "Tables that it has published stay so.",
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
        "Compute a training set again from its pinned snapshots alone, and compare. A model URI stands for the model's training set.\n\n"
        "The job fails with DigestMismatch, naming the columns, if it does not come out the same.",
        "It changes nothing.",
    ),
    Operation(
        handlers.COMPARISON,
        "/v1/comparisons",
        "training sets",
        ComparisonBody,
        responses.ComparisonState,
        check_comparison,
        "Compare training set `b` with `a`: definitions, rows, values, drift, and their causes. Model URIs may stand for ids.",
        "It changes nothing.",
    ),
    Operation(
        handlers.MAINTENANCE,
        "/v1/maintenance",
        "maintenance",
        MaintenanceBody,
        responses.Maintenance,
        check_maintenance,
        "Expire snapshots that nothing pins, remove orphan files, and compact small files into sorted ones.",
        "Each table is done or as it was.",
    ),
    Operation(
        handlers.REPAIR,
        "/v1/repairs",
        "maintenance",
        RepairBody,
        responses.Repairs,
        check_repair,
        "Roll every table with missing files back to its last complete snapshot.",
        "Each table is rolled back or as it was.",
    ),
)
