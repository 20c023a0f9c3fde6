"""Applying a plan: empty feature tables first, then one commit to the registry that makes them known."""

import json
from dataclasses import replace

import pyarrow as pa

from featurestore.errors import Conflict
from featurestore.lakehouse import tables
from featurestore.pipelines import registry, times
from featurestore.pipelines.joining.spine_columns import arrow_type
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.registry import Applied

DEFINITION = "featurestore.definition"
FINGERPRINT = "featurestore.fingerprint"


def apply(parts: Parts, plan: Plan) -> Plan:
    """Do the plan's steps. Readers see all of it or nothing: it is one commit.

    Raises: CommitConflict when someone else applied since the plan was made. After any error the registry is as it
    was, and tables made on the way are dropped.
    """
    changed = [step.result for step in plan.steps if step.action != "unchanged"]
    if not changed:
        return plan
    applied_at = times.now()
    made: list[str] = []
    try:
        for row in changed:
            if row.kind == "view" and _make_table(parts, row):
                made.append(parts.features_table(row.table))  # noqa: PERF401 - one by one, so that those made before an error are known
        registry.write(parts, [replace(row, applied_at=applied_at) for row in changed], plan.base)
    except BaseException:
        for name in made:
            parts.catalog.drop_table(name)
        raise
    for row in changed:
        if row.kind == "view" and parts.features_table(row.table) not in made:
            _describe_table(parts, row)
    parts.online.touch()
    return plan


def _make_table(parts: Parts, row: Applied) -> bool:
    """Create the empty feature table of a new version; False when it is there already with the same meaning."""
    name = parts.features_table(row.table)
    if tables.exists(parts.catalog, name):
        held = tables.load(parts.catalog, name).properties.get(FINGERPRINT)
        if held != row.fingerprint:
            raise Conflict(
                f"table {name} exists and is not version {row.version} of view {row.name}; drop or rename that table, then apply again"
            )
        return False
    schema = pa.schema([(column, pa.uuid() if kind == "UUID" else arrow_type(kind)) for column, kind in row.columns.items()])
    properties = {DEFINITION: json.dumps(row.document), FINGERPRINT: row.fingerprint}
    tables.create(parts.catalog, name, schema, month_of="feature_timestamp", properties=properties)
    return True


def _describe_table(parts: Parts, row: Applied) -> None:
    table = tables.load(parts.catalog, parts.features_table(row.table))
    if table.properties.get(DEFINITION) != json.dumps(row.document):
        tables.set_properties(table, {DEFINITION: json.dumps(row.document)})
