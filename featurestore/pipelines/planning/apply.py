"""Apply a plan: create empty feature tables, then commit all definitions to the registry at once."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from featurestore.access.owners import record_owner
from featurestore.access.privileges import Securable
from featurestore.access.rights import OPERATOR, Rights
from featurestore.errors import CommitConflict, Conflict, FeatureStoreError
from featurestore.files.git_commit import commits_of
from featurestore.lakehouse import commits, dropping, tables
from featurestore.lakehouse.dropping import TableIdentity
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.pipelines.planning import grants, policies
from featurestore.pipelines.planning.authority import KINDS
from featurestore.pipelines.planning.plan import Plan, make_plan
from featurestore.records import definitions
from featurestore.records.authors import created_property
from featurestore.records.definitions import Applied
from featurestore.records.feature_table import DEFINITION, FINGERPRINT
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import make_copy
from featurestore.sources.kept.origin import open_origin
from featurestore.sources.kept.pushed_table import load_pushed_table
from featurestore.spines.columns import plain_arrow_type
from featurestore.values import times

logger = logger_of(__name__)

ATTEMPTS = 20
"""Attempts of an apply: each lost attempt means that another apply was first."""
PAUSES = (0.1, 0.3, 1.0)
"""Seconds to wait for another apply to end, before each look at its table."""
ABANDONED_SECONDS = 60
"""No apply takes as long: an empty, unregistered table of this age is left over from one that was killed."""


def apply_plan(runtime: Runtime, plan: Plan, *, as_shown: bool, rights: Rights = OPERATOR) -> Plan:
    """Execute a plan for somebody with these rights; if others apply first, plan again with the same definitions and execute that.

    With `as_shown`, only if the new plan is equal to the one that the user has seen. Returns the executed plan.
    Raises: CommitConflict naming what others applied; else as `make_plan` and `execute_plan`.
    """
    runtime, planned = runtime.as_operator(), plan

    def recover(conflict: CommitConflict) -> None:
        nonlocal planned
        planned = make_plan(runtime, plan.definitions, rights)
        if as_shown and planned.to_dict() != plan.to_dict():
            raise conflict

    name = definitions.registry_table(runtime)
    return commits.retry(name, lambda: execute_plan(runtime, planned), undone="nothing was applied", attempts=ATTEMPTS, recover=recover)


def execute_plan(runtime: Runtime, plan: Plan) -> Plan:
    """Execute the plan's steps; readers see all or none of the definitions, since they are one commit. Policies come first, so
    that no row is ever there without them; grants follow, in another commit.

    Raises: CommitConflict naming what others applied since the plan was made. After an error the registry is unchanged, and the created
    tables are dropped, unless the outcome of the commit is unknown.
    """
    changed = [step.result for step in plan.steps if step.action != "unchanged" and step.kind not in (grants.KIND, policies.KIND)]
    if any(step.kind == policies.KIND and step.action != "unchanged" for step in plan.steps):
        # They are recorded before the commit of the definitions, which looks at this by itself.
        definitions.refuse_stale(runtime, plan.base)
        policies.apply_policy_steps(runtime, plan.steps)
    if not changed:
        grants.apply_grants(runtime, plan.steps)
        return plan
    applied_at = times.now()
    created: dict[str, tuple[Applied, TableIdentity]] = {}
    try:
        for row in changed:
            if row.kind == "view" and (table := _ensure_table(runtime, row, plan.base)) is not None:
                created[runtime.features_table(row.table)] = (row, dropping.identity_of(table))
        requested_commit = plan.definitions.commit
        by_file = commits_of(plan.definitions) if requested_commit is None else {}
        rows = [replace(row, applied_at=applied_at, commit=requested_commit or by_file.get((row.kind, row.name))) for row in changed]
        definitions.append_to_registry(runtime, rows, plan.base)
    except BaseException as error:
        if not commits.outcome_unknown(error):
            _drop_created(runtime, created)
        raise
    for row in changed:
        if row.kind == "view" and runtime.features_table(row.table) not in created:
            _describe_table(runtime, row)
    _make_copies(runtime, plan)
    runtime.online.touch()
    record_owner(runtime, [Securable(KINDS[step.kind], step.name) for step in plan.steps if step.action == "create" and step.kind in KINDS])
    # After the objects that they are on. If this is interrupted, the next plan has those that are missing.
    grants.apply_grants(runtime, plan.steps)
    return plan


def _make_copies(runtime: Runtime, plan: Plan) -> None:
    """Create the tables of the rows that the store keeps; a run creates those that are missing if this is interrupted."""
    for source in plan.definitions.sources:
        try:
            if source.pushed:
                # It also gets new columns.
                load_pushed_table(runtime, source)
            elif source.kept and tables.find(runtime.catalog, source.kept_table) is None:
                make_copy(runtime, source, open_origin(runtime, source).schema)
        except FeatureStoreError:
            # The definitions are applied.
            logger.warning("the table for the rows of source %s is not there yet; the next run makes it", source.name, exc_info=True)


def _ensure_table(runtime: Runtime, row: Applied, base: int | None) -> Table | None:
    """Create the empty feature table of a new version; None if it exists with the same fingerprint."""
    name = runtime.features_table(row.table)
    for pause in (*PAUSES, 0.0):
        table, created = _load_or_create(runtime, row)
        if created:
            return table
        if table.properties.get(FINGERPRINT) == row.fingerprint:
            return None
        definitions.refuse_stale(runtime, base)
        # Another apply has created the table; it will be in the registry soon.
        time.sleep(pause)
    if FINGERPRINT in table.properties and table.snapshot_id is None and not definitions.read_registry(runtime).has(row):
        if times.now() - table.updated_us > ABANDONED_SECONDS * 1_000_000:
            # Left over from an apply that was killed.
            dropping.drop_table(runtime.catalog, name, dropping.identity_of(table))
            table, created = _load_or_create(runtime, row)
            if created or table.properties.get(FINGERPRINT) == row.fingerprint:
                return table if created else None
        raise CommitConflict(
            f"another apply is creating {name}, or was interrupted while creating it; apply again, after {ABANDONED_SECONDS} seconds at the"
            " latest, when the leftover table is replaced",
            table=name,
        )
    raise Conflict(f"table {name} exists and is not version {row.version} of view {row.name}; drop or rename that table, then apply again")


def _load_or_create(runtime: Runtime, row: Applied) -> tuple[Table, bool]:
    """The feature table of a version, and whether this call created it. Raises: as `tables.load_or_create`."""
    schema = pa.schema(
        [(column, pa.uuid() if sql_type == "UUID" else plain_arrow_type(sql_type)) for column, sql_type in row.columns.items()]
    )
    properties = {DEFINITION: json.dumps(row.document), FINGERPRINT: row.fingerprint, **created_property(runtime.author)}
    name = runtime.features_table(row.table)
    return tables.load_or_create(runtime.catalog, name, schema, month_of="feature_timestamp", properties=properties)


def _drop_created(runtime: Runtime, created: Mapping[str, tuple[Applied, TableIdentity]]) -> None:
    """Drop the tables that a failed apply created, except those that another apply has registered meanwhile."""
    try:
        for name, (row, identity) in created.items():
            if definitions.read_registry(runtime).has(row):
                continue
            dropping.drop_table(runtime.catalog, name, identity)
            if definitions.read_registry(runtime).has(row):
                _load_or_create(runtime, row)
    except FeatureStoreError:
        logger.warning("an empty table of a failed apply could not be dropped; the next apply uses it", exc_info=True)


def _describe_table(runtime: Runtime, row: Applied) -> None:
    """Update the definition in an existing table's properties; create it again if another apply that failed has dropped it."""
    table, _ = _load_or_create(runtime, row)
    if table.properties.get(DEFINITION) != json.dumps(row.document):
        tables.set_properties(table, {DEFINITION: json.dumps(row.document)})
