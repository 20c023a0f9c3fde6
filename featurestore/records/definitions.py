"""The registry: the history of applied definitions, one Iceberg table that is only ever appended to."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.fingerprint import view_fingerprint
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl import documents
from featurestore.dsl.service import FeatureService
from featurestore.dsl.value_types import checked_type
from featurestore.dsl.view import FeatureView
from featurestore.errors import CommitConflict, Conflict, NotFound
from featurestore.lakehouse import compaction, scans, tables, writes
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
"""The entry of a document that takes its version away; it holds what is left to delete."""
RANK = "__fs_rank"
"""The entry of a stored document that says where its version stands among the others, when that is not told by its number."""


@dataclass(frozen=True)
class Applied:
    """One version of one definition as applied, or as removed.

    `columns` (views) holds the DuckDB type of each column of the feature table; `bindings` (services) holds the version
    of each view; `sql` is the compiled SQL. Microseconds in `applied_at`. The version of the greatest `rank` is the current one:
    an older version to which its definition was rolled back has another rank than its number, which 0 stands for.
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

    @property
    def order(self) -> int:
        """Where the version stands among the others of its name; the greatest is the current one."""
        return self.rank or self.version

    @property
    def removed(self) -> bool:
        """Whether this row takes its version away."""
        return REMOVED in self.document

    @property
    def table(self) -> str:
        """The name of the feature table of a view version."""
        return f"{self.name}_v{self.version}"


@dataclass(frozen=True)
class Registry:
    """What has been applied: the latest row of every (kind, name, version), the current version last; `removed` ones apart.

    `snapshot_id` is the registry table's snapshot that was read, None when nothing was ever applied.
    """

    rows: Mapping[tuple[str, str], Sequence[Applied]]
    snapshot_id: int | None
    removed: Mapping[tuple[str, str], Sequence[Applied]] = field(default_factory=dict)
    _plans: dict[tuple[str, int], ServicePlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted(name for other, name in self.rows if other == kind)

    def latest(self, kind: str, name: str) -> Applied | None:
        """The current version; None when none was ever applied."""
        versions = self.rows.get((kind, name))
        return versions[-1] if versions else None

    def next_version(self, kind: str, name: str) -> int:
        """The number of a new version: one that none ever had, so that nothing old can be taken for it."""
        ever = [*self.rows.get((kind, name), ()), *self.removed.get((kind, name), ())]
        return max((row.version for row in ever), default=0) + 1

    def next_rank(self, kind: str, name: str) -> int:
        """The rank of a version that becomes the current one; the number of a new version where none was ever rolled back."""
        ever = [*self.rows.get((kind, name), ()), *self.removed.get((kind, name), ())]
        return max(max((row.order for row in ever), default=0) + 1, self.next_version(kind, name))

    def has(self, row: Applied) -> bool:
        """Whether this version is applied, with whatever meaning."""
        return any(held.version == row.version for held in self.rows.get((row.kind, row.name), ()))

    def all_rows(self) -> Iterable[Sequence[Applied]]:
        """The versions of every definition, removed ones apart."""
        return [*self.rows.values(), *self.removed.values()]

    def get(self, kind: str, name: str, version: int | None = None) -> Applied:
        """One version, or the current one. Raises: NotFound with the nearest names or the versions there are."""
        versions = self.rows.get((kind, name))
        if not versions:
            raise NotFound(kind, name, self.names(kind))
        found = versions[-1] if version is None else next((row for row in versions if row.version == version), None)
        if found is None:
            raise NotFound("version", str(version), [str(row.version) for row in versions], f"{kind} {name}")
        return found

    def view(self, applied: Applied) -> FeatureView:
        """The view of a row of kind view, its SQL not looked at. Raises: Conflict naming it, when the document is none."""
        return stored_definition.view(applied.name, applied.version, applied.document, applied.columns)

    def meaning(self, applied: Applied) -> str | None:
        """The fingerprint of what the document of a view says now; None when it cannot be read: it equals no other."""
        try:
            with _reading(applied):
                return view_fingerprint(self.view(applied))
        except Conflict:
            return None

    def service(self, applied: Applied) -> FeatureService:
        """The service of a row of kind service. Raises: Conflict naming it, when the document is none."""
        with _reading(applied):
            return documents.service(applied.document)

    def plan(self, applied: Applied) -> ServicePlan:
        """A service version resolved to the view versions it is bound to, once. Raises: Conflict for stored documents that are none."""
        held = self._plans.get((applied.name, applied.version))
        if held is None:
            held = self._plans[applied.name, applied.version] = self._bound(applied)
        return held

    def _bound(self, applied: Applied) -> ServicePlan:
        versions = {name: self.get("view", name, version) for name, version in applied.bindings.items()}
        views = {name: ViewVersion(self.view(row), row.version, row.columns) for name, row in versions.items()}
        with _reading(applied):
            return bind_service(self.service(applied), applied.version, applied.fingerprint, views)


def registry_table(runtime: Runtime) -> str:
    """The registry table's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.definitions"


def read_registry(runtime: Runtime) -> Registry:
    """The registry as it is now; empty when nothing was ever applied."""
    table = tables.find(runtime.catalog, registry_table(runtime))
    if table is None:
        return Registry({}, None)
    snapshot_id = tables.current_snapshot_id(table)
    # Few rows: to open an engine for them would take several times as long.
    held = scans.read_snapshot(table, snapshot_id).read_all()
    # As numbers: for times Arrow imports pandas, where that is installed.
    at = held.schema.get_field_index("applied_at")
    found = held.set_column(at, "applied_at", held.column(at).cast(pa.int64())).to_pylist()
    rows = sorted(found, key=lambda row: (row["version"], row["applied_at"]))
    latest = {(row["kind"], row["name"], row["version"]): _applied(row) for row in rows}
    applied: dict[tuple[str, str], list[Applied]] = {}
    removed: dict[tuple[str, str], list[Applied]] = {}
    for (kind, name, _), version in latest.items():
        (removed if version.removed else applied).setdefault((kind, name), []).append(version)
    for versions in (*applied.values(), *removed.values()):
        versions.sort(key=lambda row: row.order)
    return Registry(applied, snapshot_id, removed)


def append_to_registry(runtime: Runtime, rows: Sequence[Applied], base: int | None, action: Literal["apply", "remove"] = "apply") -> None:
    """Append `rows` in one commit, if the registry still holds what it held at snapshot `base`. Raises: CommitConflict if it does not."""
    table = tables.create_if_absent(runtime.catalog, registry_table(runtime), SCHEMA)
    _refuse_stale(runtime, table, base, action)
    records = [
        {
            **{name: getattr(row, name) for name in ("kind", "name", "version", "fingerprint", "sql", "applied_at")},
            **{name: json.dumps(getattr(row, name)) for name in ("columns", "bindings")},
            "document": json.dumps({**row.document, RANK: row.rank} if row.rank else row.document),
        }
        for row in rows
    ]
    batches = pa.Table.from_pylist(records, SCHEMA).to_reader()
    writes.append(table, batches, summary={"featurestore.action": action})


def refuse_stale(runtime: Runtime, base: int | None) -> None:
    """Raises: CommitConflict, saying what was applied, unless the registry still holds what it held at snapshot `base`."""
    if (table := tables.find(runtime.catalog, registry_table(runtime))) is not None:
        _refuse_stale(runtime, table, base, "apply")


def _refuse_stale(runtime: Runtime, table: tables.Table, base: int | None, action: Literal["apply", "remove"]) -> None:
    if compaction.only_rewritten(table, base, tables.current_snapshot_id(table)):
        return
    again = "since this plan was made; plan again" if action == "apply" else "meanwhile; nothing was removed, try again"
    found = sorted((row for rows in read_registry(runtime).all_rows() for row in rows), key=lambda row: row.applied_at)
    last = [row for row in found if row.applied_at == found[-1].applied_at]
    named = [f"{row.kind} {row.name} v{row.version}" for row in last]
    shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    what = f": {shown} at {text(last[0].applied_at)}" if last else ""
    raise CommitConflict(f"definitions were applied by someone else {again}{what}", applied=named)


def _reading(row: Applied) -> AbstractContextManager[None]:
    return stored_definition.reading(f"{row.kind} {row.name}, version {row.version}", **{row.kind: row.name}, version=row.version)


def _applied(row: Mapping[str, Any]) -> Applied:
    with stored_definition.reading(f"{row['kind']} {row['name']}, version {row['version']}", name=row["name"], version=row["version"]):
        texts = {name: dict(json.loads(row[name])) for name in ("document", "columns", "bindings")}
        rank = int(texts["document"].pop(RANK, 0))
        # They become part of SQL, and whoever can write to the catalog can write this table.
        texts["columns"] = {name: checked_type(kind) for name, kind in texts["columns"].items()}
    return Applied(
        row["kind"],
        row["name"],
        row["version"],
        row["fingerprint"],
        **texts,
        sql=row["sql"],
        applied_at=row["applied_at"],
        rank=rank,
    )
