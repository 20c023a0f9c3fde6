"""The registry: the history of applied definitions in one append-only Iceberg table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.fingerprint import view_fingerprint, written_fingerprints
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl import documents
from featurestore.dsl.service import FeatureService
from featurestore.dsl.value_types import checked_type
from featurestore.dsl.view import FeatureView
from featurestore.errors import CommitConflict, Conflict, NotFound
from featurestore.lakehouse import compaction, granted, scans, tables, writes
from featurestore.lakehouse.table import Table
from featurestore.records import stored_definition
from featurestore.records.runtime import Runtime
from featurestore.values.times import text

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("version", pa.int32()),
        ("fingerprint", pa.string()),
        ("document", pa.string()),
        ("columns", pa.string()),
        ("bindings", pa.string()),
        ("sql", pa.string()),
        ("applied_at", pa.timestamp("us", tz="UTC")),
    ]
)


REMOVED = "__fs_removed"
"""The entry of a document that marks its version as removed; its value lists what is still to be deleted."""
RANK = "__fs_rank"
"""The entry of a stored document with the rank of its version, if that differs from the version number."""
COMMIT = "__fs_commit"
"""The entry of a stored document with the commit of its definition files."""


@dataclass(frozen=True)
class Applied:
    """One version of one definition, applied or removed.

    `columns` (of views) maps the columns of the feature table to DuckDB types; `bindings` (of services) maps views to versions;
    `sql` is the compiled SQL; `applied_at` is in microseconds. The version with the greatest rank is the current one. `rank` 0 means
    the version number; a version that a rollback made current again has a greater rank. `commit` is the git commit of the definition
    files, with "-dirty" if they had changes that were not committed; None if they are not in a repository, or not known.
    """

    kind: str
    name: str
    version: int
    fingerprint: str
    document: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    bindings: Mapping[str, int] = field(default_factory=dict)
    sql: str = ""
    applied_at: int = 0
    rank: int = 0
    commit: str | None = None

    @property
    def order(self) -> int:
        """The rank of the version; the version with the greatest is the current one."""
        return self.rank or self.version

    @property
    def removed(self) -> bool:
        """Whether this row removes its version."""
        return REMOVED in self.document

    @property
    def written(self) -> bool:
        """Whether this is a version of a written table: a view whose rows are written by key."""
        source = self.document.get("source")
        return (
            self.kind == "view"
            and isinstance(source, Mapping)
            and all(source.get(place) is None for place in ("table", "path", "sql", "schema"))
        )

    @property
    def table(self) -> str:
        """The name of the feature table of a view version."""
        return f"{self.name}_v{self.version}"


@dataclass(frozen=True)
class Registry:
    """The latest row of every applied version by (kind, name), the current version last; the same for removed versions.

    `snapshot_id` is the snapshot of the registry table; None if nothing was ever applied.
    """

    rows: Mapping[tuple[str, str], Sequence[Applied]]
    snapshot_id: int | None
    removed: Mapping[tuple[str, str], Sequence[Applied]] = field(default_factory=dict)
    _plans: dict[tuple[str, int], ServicePlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self, kind: str) -> list[str]:
        """The names of the definitions of a kind, sorted."""
        return sorted(name for other, name in self.rows if other == kind)

    def latest(self, kind: str, name: str) -> Applied | None:
        """The current version; None if no version is applied."""
        versions = self.rows.get((kind, name))
        return versions[-1] if versions else None

    def next_version(self, kind: str, name: str) -> int:
        """The number of a new version: numbers of removed versions are not used again."""
        versions = [*self.rows.get((kind, name), ()), *self.removed.get((kind, name), ())]
        return max((row.version for row in versions), default=0) + 1

    def next_rank(self, kind: str, name: str) -> int:
        """The rank of a version that becomes the current one; equal to `next_version` if there was no rollback."""
        versions = [*self.rows.get((kind, name), ()), *self.removed.get((kind, name), ())]
        return max(max((row.order for row in versions), default=0) + 1, self.next_version(kind, name))

    def has(self, row: Applied) -> bool:
        """Whether a version of this number is applied."""
        return any(applied.version == row.version for applied in self.rows.get((row.kind, row.name), ()))

    def is_removed(self, kind: str, name: str) -> bool:
        """Whether there was a definition of this name, of which no version is applied any more."""
        return (kind, name) in self.removed and (kind, name) not in self.rows

    def all_rows(self) -> Iterable[Sequence[Applied]]:
        """The versions of each definition, then the removed versions of each."""
        return [*self.rows.values(), *self.removed.values()]

    def get(self, kind: str, name: str, version: int | None = None) -> Applied:
        """A version; by default the current one. Raises: NotFound with the nearest names, or the existing versions."""
        versions = self.rows.get((kind, name))
        if not versions:
            raise NotFound(kind, name, self.names(kind))
        row = versions[-1] if version is None else next((row for row in versions if row.version == version), None)
        if row is None:
            raise NotFound("version", str(version), [str(row.version) for row in versions], f"{kind} {name}")
        return row

    def view(self, applied: Applied) -> FeatureView:
        """The view in a row of a view; its SQL is not checked. Raises: Conflict naming it if its document is not a view."""
        return stored_definition.stored_view(applied.name, applied.version, applied.document, applied.columns)

    def current_fingerprint(self, applied: Applied) -> str | None:
        """The fingerprint that a stored view has in this release; None if its document cannot be read.

        A written table keeps the one that it was created with, so that is computed with as many of its columns as it takes to find it.
        """
        try:
            with _conflict_if_unreadable(applied):
                view = self.view(applied)
                if not applied.written:
                    return view_fingerprint(view)
                computed = list(written_fingerprints(view, applied.columns))
                return applied.fingerprint if applied.fingerprint in computed else computed[0]
        except Conflict:
            return None

    def service(self, applied: Applied) -> FeatureService:
        """The service in a row of a service. Raises: Conflict naming it if its document is not a service."""
        with _conflict_if_unreadable(applied):
            return documents.service(applied.document)

    def plan(self, applied: Applied) -> ServicePlan:
        """The plan of a service version, with the view versions that it is bound to; cached. Raises: Conflict for unreadable documents."""
        plan = self._plans.get((applied.name, applied.version))
        if plan is None:
            plan = self._plans[applied.name, applied.version] = self._bind(applied)
        return plan

    def _bind(self, applied: Applied) -> ServicePlan:
        versions = {name: self.get("view", name, version) for name, version in applied.bindings.items()}
        views = {name: ViewVersion(self.view(row), row.version, row.columns) for name, row in versions.items()}
        with _conflict_if_unreadable(applied):
            return bind_service(self.service(applied), applied.version, applied.fingerprint, views)


def registry_table(runtime: Runtime) -> str:
    """The registry table's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.definitions"


def read_registry(runtime: Runtime, known: Registry | None = None) -> Registry:
    """Read the current state of the registry; empty if nothing was ever applied. `known` is returned if it is current."""
    table = tables.find(runtime.catalog, registry_table(runtime))
    if table is None:
        return Registry({}, None)
    snapshot_id = table.snapshot_id
    if known is not None and known.snapshot_id == snapshot_id and snapshot_id is not None:
        return known
    # Without the engine: it takes longer to open than these few rows take to read.
    table_rows = scans.read_snapshot(granted.system(table, runtime.settings), snapshot_id).read_all()
    # As integers: Arrow imports pandas to convert times, if it is installed.
    at = table_rows.schema.get_field_index("applied_at")
    records = table_rows.set_column(at, "applied_at", table_rows.column(at).cast(pa.int64())).to_pylist()
    rows = sorted(records, key=lambda row: (row["version"], row["applied_at"]))
    latest = {(row["kind"], row["name"], row["version"]): _from_record(row) for row in rows}
    applied: dict[tuple[str, str], list[Applied]] = {}
    removed: dict[tuple[str, str], list[Applied]] = {}
    for (kind, name, _), version in latest.items():
        (removed if version.removed else applied).setdefault((kind, name), []).append(version)
    for versions in (*applied.values(), *removed.values()):
        versions.sort(key=lambda row: row.order)
    return Registry(applied, snapshot_id, removed)


def append_to_registry(runtime: Runtime, rows: Sequence[Applied], base: int | None, action: Literal["apply", "remove"] = "apply") -> None:
    """Append `rows` in one commit, unless something was applied since snapshot `base`. Raises: CommitConflict naming it."""
    table = tables.create_if_absent(runtime.catalog, registry_table(runtime), SCHEMA)
    _refuse_stale(runtime, table, base, action)
    records = [
        {
            **{name: getattr(row, name) for name in ("kind", "name", "version", "fingerprint", "sql", "applied_at")},
            **{name: json.dumps(getattr(row, name)) for name in ("columns", "bindings")},
            "document": json.dumps({**row.document, **_own_entries(row)}),
        }
        for row in rows
    ]
    batches = pa.Table.from_pylist(records, SCHEMA).to_reader()
    writes.append(table, batches, summary={writes.OPERATION: action})


def _own_entries(row: Applied) -> dict[str, Any]:
    """The entries that are stored with a document, and are not part of it."""
    return {name: value for name, value in ((RANK, row.rank), (COMMIT, row.commit)) if value}


def refuse_stale(runtime: Runtime, base: int | None) -> None:
    """Raises: CommitConflict naming what was applied since snapshot `base` of the registry."""
    if (table := tables.find(runtime.catalog, registry_table(runtime))) is not None:
        _refuse_stale(runtime, table, base, "apply")


def _refuse_stale(runtime: Runtime, table: Table, base: int | None, action: Literal["apply", "remove"]) -> None:
    if compaction.only_rewritten(table, base, table.snapshot_id):
        return
    again = "since this plan was made; plan again" if action == "apply" else "meanwhile; nothing was removed, try again"
    rows = sorted((row for rows in read_registry(runtime).all_rows() for row in rows), key=lambda row: row.applied_at)
    last = [row for row in rows if row.applied_at == rows[-1].applied_at]
    names = [f"{row.kind} {row.name} v{row.version}" for row in last]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    what = f": {shown} at {text(last[0].applied_at)}" if last else ""
    raise CommitConflict(f"definitions were applied by someone else {again}{what}", applied=names)


def _conflict_if_unreadable(row: Applied) -> AbstractContextManager[None]:
    return stored_definition.conflict_if_unreadable(
        f"{row.kind} {row.name}, version {row.version}", **{row.kind: row.name}, version=row.version
    )


def _from_record(row: Mapping[str, Any]) -> Applied:
    with stored_definition.conflict_if_unreadable(
        f"{row['kind']} {row['name']}, version {row['version']}", name=row["name"], version=row["version"]
    ):
        texts = {name: dict(json.loads(row[name])) for name in ("document", "columns", "bindings")}
        rank = int(texts["document"].pop(RANK, 0))
        commit = texts["document"].pop(COMMIT, None)
        # Types become part of SQL, and everybody with access to the catalog can write this table.
        texts["columns"] = {name: checked_type(sql_type) for name, sql_type in texts["columns"].items()}
    return Applied(
        row["kind"],
        row["name"],
        row["version"],
        row["fingerprint"],
        **texts,
        sql=row["sql"],
        applied_at=row["applied_at"],
        rank=rank,
        commit=None if commit is None else str(commit),
    )
