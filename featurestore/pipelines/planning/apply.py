"""Applying a plan: empty feature tables first, then one commit to the registry that makes them known."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from featurestore.errors import CommitConflict, Conflict, FeatureStoreError
from featurestore.lakehouse import commits, dropping, tables
from featurestore.lakehouse.dropping import TableIdentity
from featurestore.lakehouse.tables import Table
from featurestore.masking import logger_of
from featurestore.pipelines.planning.plan import Plan, make_plan
from featurestore.records import definitions
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.spines.columns import plain_arrow_type
from featurestore.values import times

logger = logger_of(__name__)

DEFINITION = "featurestore.definition"
FINGERPRINT = "featurestore.fingerprint"

ATTEMPTS = 20
"""Attempts of an apply: each lost attempt means that another apply was first."""
PAUSES = (0.1, 0.3, 1.0)
"""The seconds for which to let another apply end before it is looked at again."""
ABANDONED_SECONDS = 60
"""An apply is over long before."""


def apply_plan(runtime: Runtime, plan: Plan, *, as_shown: bool) -> Plan:
    """Do the plan's steps; where someone else applied first, do what the same definitions come to by then.

    With `as_shown` only if that is the same: somebody has looked at the plan. Returns the plan that was done. Raises: CommitConflict
    saying what was applied; else as `_done`.
    """
    planned = plan

    def recover(conflict: CommitConflict) -> None:
        nonlocal planned
        planned = make_plan(runtime, plan.definitions)
        if as_shown and planned.to_dict() != plan.to_dict():
            raise conflict

    name = definitions.registry_table(runtime)
    return commits.retry(name, lambda: _done(runtime, planned), undone="nothing was applied", attempts=ATTEMPTS, recover=recover)


def _done(runtime: Runtime, plan: Plan) -> Plan:
    """Do the plan's steps. Readers see all of it or nothing: it is one commit.

    Raises: CommitConflict, saying what, when someone else applied since the plan was made. After any error the registry is as it was, and
    tables made on the way are dropped; but where it is not known whether the commit landed, all stays as it is.
    """
    changed = [step.result for step in plan.steps if step.action != "unchanged"]
    if not changed:
        return plan
    applied_at = times.now()
    made: dict[str, tuple[Applied, TableIdentity]] = {}
    try:
        for row in changed:
            if row.kind == "view" and (table := _make_table(runtime, row, plan.base)) is not None:
                made[runtime.features_table(row.table)] = (row, dropping.identity_of(table))
        definitions.append_to_registry(runtime, [replace(row, applied_at=applied_at) for row in changed], plan.base)
    except BaseException as error:
        if not commits.outcome_unknown(error):
            _drop(runtime, made)
        raise
    for row in changed:
        if row.kind == "view" and runtime.features_table(row.table) not in made:
            _describe_table(runtime, row)
    runtime.online.touch()
    return plan


def _make_table(runtime: Runtime, row: Applied, base: int | None) -> Table | None:
    """Create the empty feature table of a new version; None when it is there already with the same meaning."""
    name = runtime.features_table(row.table)
    for pause in (*PAUSES, 0.0):
        held = _held(runtime, row)
        if held is None:
            return _create(runtime, row)
        if held.properties.get(FINGERPRINT) == row.fingerprint:
            return None
        definitions.refuse_stale(runtime, base)
        # Whoever is applying makes the tables first: a moment later the registry says who it was.
        time.sleep(pause)
    if (
        held is not None
        and FINGERPRINT in held.properties
        and tables.current_snapshot_id(held) is None
        and not definitions.read_registry(runtime).has(row)
    ):
        if times.now() - held.metadata.last_updated_ms * 1000 > ABANDONED_SECONDS * 1_000_000:
            # Empty, unknown, and older than an apply takes: what a dead one left.
            dropping.drop_table(runtime.catalog, name, dropping.identity_of(held))
            return _create(runtime, row)
        raise CommitConflict(
            f"another apply is making {name}, or was cut off at it; apply again, if need be in {ABANDONED_SECONDS} seconds, when what is"
            " left of it goes away",
            table=name,
        )
    raise Conflict(f"table {name} exists and is not version {row.version} of view {row.name}; drop or rename that table, then apply again")


def _held(runtime: Runtime, row: Applied) -> Table | None:
    return tables.find(runtime.catalog, runtime.features_table(row.table))


def _create(runtime: Runtime, row: Applied) -> Table | None:
    schema = pa.schema([(column, pa.uuid() if kind == "UUID" else plain_arrow_type(kind)) for column, kind in row.columns.items()])
    properties = {DEFINITION: json.dumps(row.document), FINGERPRINT: row.fingerprint}
    name = runtime.features_table(row.table)
    try:
        return tables.create(runtime.catalog, name, schema, month_of="feature_timestamp", properties=properties)
    except Conflict as error:
        # Another apply made it at the same moment: of the same meaning it will do.
        held = _held(runtime, row)
        if held is not None and held.properties.get(FINGERPRINT) == row.fingerprint:
            return None
        raise CommitConflict(f"another apply is making {name}; try again", table=name) from error


def _drop(runtime: Runtime, made: Mapping[str, tuple[Applied, TableIdentity]]) -> None:
    """Drop tables that an apply made in vain, but not what another one has applied meanwhile: it found them there."""
    try:
        for name, (row, identity) in made.items():
            if definitions.read_registry(runtime).has(row):
                continue
            dropping.drop_table(runtime.catalog, name, identity)
            if definitions.read_registry(runtime).has(row):
                _create(runtime, row)
    except FeatureStoreError:
        logger.warning("an empty table of an apply that failed is left; the next one takes it", exc_info=True)


def _describe_table(runtime: Runtime, row: Applied) -> None:
    """Let a table that was there tell the words of today; one that another apply, which failed, took away meanwhile is made again."""
    table = _held(runtime, row) or _create(runtime, row) or tables.load(runtime.catalog, runtime.features_table(row.table))
    if table.properties.get(DEFINITION) != json.dumps(row.document):
        tables.set_properties(table, {DEFINITION: json.dumps(row.document)})
