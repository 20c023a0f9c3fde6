"""What must hold of a store after processes were killed in it: compared with a fresh store over the same rows."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa

from benchmarks.many_world import SERVICE, SOURCE, VIEWS, spine
from featurestore import FeatureStore
from featurestore.compiler.log_diff import DELETED

TIMES = ("feature_timestamp", "created_timestamp")
SPINE_ROWS, SPINE_SEED = 2000, 99
CLOCKS = timedelta(seconds=3)
"""A REST server tells its time by the second."""


def problems(store: FeatureStore, fresh: FeatureStore, expected: pa.Table, built: dict[str, str]) -> Iterator[str]:
    """Everything that is not as promised; `built` are the digests of training sets by id."""
    source = store.catalog.load_table(SOURCE).scan().to_arrow()
    if sorted(source.to_pylist(), key=str) != sorted(expected.to_pylist(), key=str):
        yield "the source itself has lost or doubled rows"
    for view in VIEWS:
        name = f"{view}_v1"
        yield from _compare_table(name, _rows(store, name), _rows(fresh, name))
        yield from _created_in_order(store, name)
    asked = spine(SPINE_ROWS, SPINE_SEED)
    if store.training_set(SERVICE, asked, "t", name="last").to_arrow() != fresh.training_set(SERVICE, asked, "t", name="last").to_arrow():
        yield "a training set differs from that of the fresh store"
    stored = {each.id: each.digest for each in store.training_sets()}
    for id_, digest in {**stored, **built}.items():
        rebuilt = store.rebuild(id_).digest
        if rebuilt != digest:
            yield f"training set {id_} has the digest {rebuilt} and not {digest}"
    if missing := built.keys() - stored.keys():
        yield f"training sets are lost: {sorted(missing)}"
    for compared in store.verify_online():
        if compared.missing or compared.changed or compared.extra:
            yield f"online rows of {compared.table} differ: {compared.to_dict()}"
    if damaged := store.repair(dry_run=True):
        yield f"files are missing: {damaged}"


def _rows(store: FeatureStore, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.catalog.load_table(f"features.{name}").scan().to_arrow().to_pylist()
    return rows


def _compare_table(name: str, rows: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> Iterator[str]:
    """No version of a row is there twice, a later version differs from the one before, and the newest ones are those of a fresh store."""
    versions: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        versions[row["k"], row["feature_timestamp"]].append(row)
    newest = {}
    for key, of_key in versions.items():
        of_key.sort(key=lambda row: row["created_timestamp"])
        for before, after in pairwise(of_key):
            if before["created_timestamp"] == after["created_timestamp"]:
                yield f"{name}: {key} has two versions of {before['created_timestamp']}"
            elif _values(before) == _values(after):
                yield f"{name}: {key} has the same version twice, of {before['created_timestamp']} and {after['created_timestamp']}"
        if not of_key[-1].get(DELETED):
            newest[key] = _values(of_key[-1])
    wanted = {(row["k"], row["feature_timestamp"]): _values(row) for row in fresh}
    if newest != wanted:
        lost, more = wanted.keys() - newest.keys(), newest.keys() - wanted.keys()
        other = [key for key in wanted.keys() & newest.keys() if wanted[key] != newest[key]]
        yield f"{name}: {len(lost)} rows lost, {len(more)} too many, {len(other)} with other values; e.g. {[*lost, *more, *other][:3]}"


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bool(value) if name == DELETED else value for name, value in row.items() if name not in TIMES and (name != DELETED or value)
    }


def _created_in_order(store: FeatureStore, name: str) -> Iterator[str]:
    """No row is from the future, and none is from after the commit that added it."""
    table = store.catalog.load_table(f"features.{name}")
    if any(row["created_timestamp"] > datetime.now(UTC) + CLOCKS for row in _rows(store, name)):
        yield f"{name}: rows are created in the future"
    for snapshot in table.snapshots():
        committed = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        ran = (snapshot.summary.additional_properties if snapshot.summary else {}).get("featurestore.materialized-at")
        if ran and datetime.fromisoformat(ran) > committed + CLOCKS:
            yield f"{name}: the run of {ran} was committed before, at {committed}"
