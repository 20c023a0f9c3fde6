"""The links of a chain that the catalog knows: source tables, view versions, the training set, and logged predictions."""

from collections.abc import Iterator, Mapping
from typing import Any

from featurestore.dsl.source import Source
from featurestore.errors import FeatureStoreError, NotFound
from featurestore.lakehouse import damage, tables
from featurestore.lakehouse.table import Table
from featurestore.pipelines.lineage.audit_result import Link
from featurestore.pipelines.training_sets.build import get_training_set
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.rebuild import rebuild_training_set
from featurestore.records import source_pins
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.sources import pinned_source
from featurestore.values import times


def training_set_link(runtime: Runtime, id: str, digest: str, deep: bool) -> Link:
    """The training set: it exists with the digest of the stamp, and its stored rows have it; `deep`: so do the rows computed again."""
    problems, verified = [], []
    facts: dict[str, Any] = {"digest": digest}
    try:
        stored = get_training_set(runtime, id)
        facts |= {name: stored.manifest[name] for name in ("created_at", "rows", "label", "known", "spine", "service")}
        erased = [f"erasure {erasure['number']}" for erasure in stored.manifest.get("erasures", ())]
        if erased:
            facts |= {"digest": stored.digest, "digest_before": digest}
        minus = f", minus {', '.join(erased)}" if erased else ""
        if not stored.had_digest(digest):
            problems.append(f"its digest is {stored.digest}, but the stamp has {digest}")
        elif deep:
            rebuild_training_set(runtime, id)
            verified.append(f"computed again from its pinned snapshots, it has the digest of the stamp{minus}")
        elif (stored_digest := _digest_of(stored)) != stored.digest:
            problems.append(f"the digest of its stored rows is {stored_digest}, but the stamp has {digest}")
        else:
            verified.append(f"its stored rows have the digest of the stamp{minus}")
    except FeatureStoreError as error:
        problems.append(error.message)
    return Link("training set", id, facts, tuple(verified), tuple(problems))


def view_links(runtime: Runtime, known: Registry, views: Mapping[str, Mapping[str, Any]]) -> Iterator[Link]:
    """The view versions of a manifest: applied, with the same definition, and their pinned snapshots complete."""
    rows = _view_rows(known)
    for table, entry in views.items():
        yield _view_link(runtime, known, rows.get(table), table, entry)


def source_links(runtime: Runtime, known: Registry, views: Mapping[str, Mapping[str, Any]]) -> Iterator[Link]:
    """The sources at the snapshots, or the states of their files, from which the feature tables were computed."""
    rows = _view_rows(known)
    pins: dict[str, set[str]] = {}
    for table, entry in views.items():
        read = entry.get("source_snapshots") or {}
        source = known.view(rows[table]).source if table in rows else None
        if source is not None and source.files is not None:
            yield _files_link(runtime, source, read)
            continue
        for name, pin in read.items():
            pins.setdefault(name, set()).add(pin)
    for name in sorted(pins):
        yield _source_link(runtime, name, sorted(pins[name]))


def _view_rows(known: Registry) -> dict[str, Applied]:
    return {row.table: row for versions in known.rows.values() for row in versions if row.kind == "view"}


def _files_link(runtime: Runtime, source: Source, pins: Mapping[str, str]) -> Link:
    same = pinned_source.open_source_at(runtime, source, pins) is not None
    problems = () if same else ("its files have changed since they were read; what was computed from them is pinned",)
    return Link("source", str(source.path), {"files": len(pins)}, ("its files are those that were read",) if same else (), problems)


def _digest_of(stored: Any) -> str:
    reader = stored.read()
    digest = Digest(reader.schema)
    for batch in reader:
        digest.update(batch)
    return digest.table()


def _view_link(runtime: Runtime, known: Registry, row: Applied | None, table: str, entry: Mapping[str, Any]) -> Link:
    problems, verified = [], []
    facts = {name: entry.get(name) for name in ("table", "snapshot_id", "fingerprint", "materialized_through")}
    if row is None:
        problems.append(f"no version of a view with the table {table} is applied; it was removed")
    else:
        path = known.view(row).source.files
        facts |= {
            "view": row.name,
            "version": row.version,
            "sources": list(entry.get("source_snapshots") or {}) if path is None else [path],
            "applied_at": times.text(row.applied_at),
            "commit": row.commit,
            "sql": row.sql,
        }
        recomputed = known.current_fingerprint(row)
        if {row.fingerprint, recomputed} != {entry["fingerprint"]}:
            problems.append(
                f"its definition has the fingerprint {recomputed or 'of nothing readable'}, but the manifest {entry['fingerprint']}"
            )
        else:
            verified.append("its definition has the fingerprint of the manifest")
    problems += table_problems(runtime, str(entry["table"]), entry["uuid"], entry["snapshot_id"])
    if not problems:
        verified.append("its table has the pinned snapshot, with all files")
    return Link("view", table, facts, tuple(verified), tuple(problems))


def table_problems(runtime: Runtime, identifier: str, uuid: str | None, snapshot: str | None) -> Iterator[str]:
    """What is wrong with a table and one of its snapshots."""
    table = tables.find(runtime.catalog, identifier)
    if table is None:
        yield f"the table {identifier} does not exist any more"
        return
    if uuid is not None and table.uuid != uuid:
        yield f"the table {identifier} was dropped and created again: its uuid is {table.uuid}, was {uuid}"
    elif snapshot is not None:
        yield from _snapshot_problems(table, identifier, int(snapshot))


def _snapshot_problems(table: Table, identifier: str, snapshot: int) -> Iterator[str]:
    if snapshot not in table.snapshot_ids:
        yield f"snapshot {snapshot} of {identifier} has expired"
        return
    missing = damage.missing_files(table, snapshot)
    if missing:
        yield f"snapshot {snapshot} of {identifier} lacks {len(missing)} files, such as {missing[0]}"


def _source_link(runtime: Runtime, table: str, pins: list[str]) -> Link:
    problems, verified = [], []
    snapshots = [source_pins.snapshot_text(pin) or None for pin in pins]
    try:
        for snapshot in snapshots:
            missing = list(table_problems(runtime, table, None, snapshot))
            problems += [f"{problem}; what was computed from it is pinned, but cannot be computed again" for problem in missing]
    except NotFound as error:
        problems.append(error.message)
    if not problems:
        verified.append("the snapshots that were read exist, with all files")
    return Link("source", table, {"snapshots": snapshots}, tuple(verified), tuple(problems))
