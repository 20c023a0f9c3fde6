"""Random writes against a brute-force log in plain Python: what lookups see now and then, offline and online."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.values import times
from tests.pipelines.written.writing import moment, plan_of, rows_as_of, rows_online
from tests.worlds import on_a_store

KEYS = [1, 2, 3]
TIMES = [moment(day) for day in (1, 5, 9, 31)]
SECOND = 1_000_000

Version = dict[str, Any]


class Log:
    """A log of versions: {key, ft, ct, x, y, gone}, times in microseconds. It is written as the rules say, row by row."""

    def __init__(self, timed: bool) -> None:
        self.timed = timed
        self.versions: list[Version] = []

    def latest(self, key: int, ft: int, upto: int | None = None) -> Version | None:
        versions = [v for v in self.versions if (v["key"], v["ft"]) == (key, ft) and (upto is None or v["ct"] <= upto)]
        return max(versions, key=lambda v: v["ct"], default=None)

    def rows(self, key: int, t: int, upto: int | None) -> list[Version]:
        """The rows of a key at or before t that are not deleted, as known at `upto`."""
        fts = {v["ft"] for v in self.versions if v["key"] == key and v["ft"] <= t}
        latest = [self.latest(key, ft, upto) for ft in fts]
        return sorted((v for v in latest if v is not None and not v["gone"]), key=lambda v: v["ft"])

    def as_of(self, key: int, t: int, known: str) -> tuple[Any, Any]:
        rows = self.rows(key, t, t if known == "then" else None)
        return (rows[-1]["x"], rows[-1]["y"]) if rows else (None, None)

    def write(self, rows: list[dict[str, Any]], mode: str, run: int) -> None:
        written = set()
        for row in rows:
            ft = times.micros(row["at"]) if self.timed else run
            before = self.latest(row["k"], ft) if self.timed else next(iter(self.rows(row["k"], run, None)[::-1]), None)
            values = {name: row.get(name, before[name] if before and not before["gone"] else None) for name in ("x", "y")}
            written.add((row["k"], ft))
            stored = self.latest(row["k"], ft)
            if stored is None or stored["gone"] or (stored["x"], stored["y"]) != (values["x"], values["y"]):
                created = run if stored is None else max(run, stored["ct"] + 1)
                self.versions.append({"key": row["k"], "ft": ft, "ct": created, **values, "gone": False})
        if mode != "overwrite":
            return
        keys = {key for key, _ in written}
        for key, ft in {(v["key"], v["ft"]) for v in self.versions}:
            stored = self.latest(key, ft)
            left_out = (key, ft) not in written if self.timed else key not in keys
            if stored is not None and left_out and not stored["gone"]:
                self.versions.append({"key": key, "ft": ft, "ct": max(run, stored["ct"] + 1), "x": None, "y": None, "gone": True})


ROW = st.fixed_dictionaries({"k": st.sampled_from(KEYS), "at": st.sampled_from(TIMES), "x": st.sampled_from([1.5, -0.0, None, 4.0])})
WRITE = st.tuples(
    st.sampled_from(["merge", "merge", "append", "overwrite"]),
    st.lists(ROW, max_size=4),
    st.sampled_from([None, "a", "b"]),
    st.booleans(),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with FeatureStore(home=tmp_path_factory.mktemp("written")) as opened:
        yield opened


@pytest.mark.slow
@given(writes=st.lists(WRITE, min_size=2, max_size=5), timed=st.booleans(), seed=st.integers(0, 10**6))
@on_a_store(5)
def test_lookups_see_what_the_log_says(store: FeatureStore, writes: list[Any], timed: bool, seed: int) -> None:
    name = f"t{len(store.views())}"
    schema = {"k": "long", "x": "double", "y": "string", **({"at": "timestamp"} if timed else {})}
    store.create_table(name, "k", "at" if timed else None, schema=schema)
    log, pinned = Log(timed), {}
    for mode, drawn, y, partial in writes:
        rows = _distinct(drawn, timed)
        if not partial:
            rows = [{**row, "y": y} for row in rows]
        if mode == "append" and timed:
            rows = [row for row in rows if not any(v["ft"] == times.micros(row["at"]) for v in log.versions if v["key"] == row["k"])]
        frame = rows if timed else [{name: value for name, value in row.items() if name != "at"} for row in rows]
        store.write_table(name, frame, mode)
        ran = store.view(name).materialized_at
        if ran is not None:
            log.write(rows, mode, times.micros(ran))
            pinned[store.view(name).snapshot_id] = list(log.versions)
    moments = _moments(log, random.Random(seed))
    spine: list[dict[str, Any]] = [{"k": key, "t": times.moment(t)} for key in [*KEYS, 99] for t in moments]
    for known in ("now", "then"):
        expected = [log.as_of(row["k"], times.micros(row["t"]), known) for row in spine]
        assert rows_as_of(store, name, spine, known) == expected
    now = times.now()
    assert rows_online(store, name, [{"k": key} for key in KEYS]) == [log.as_of(key, now, "now") for key in KEYS]
    assert all(comparison.same for comparison in store.verify_online(name))
    earlier = Log(timed)
    for snapshot_id, earlier.versions in pinned.items():
        expected = [earlier.as_of(row["k"], times.micros(row["t"]), "now") for row in spine]
        assert rows_as_of(store, name, spine, snapshots={plan_of(store, name).uses[0].table: snapshot_id}) == expected


def _distinct(rows: list[dict[str, Any]], timed: bool) -> list[dict[str, Any]]:
    return list({(row["k"], row["at"] if timed else None): row for row in rows}.values())


def _moments(log: Log, chosen: random.Random) -> list[int]:
    near = [times.micros(at) for at in TIMES] + [v[name] for v in log.versions for name in ("ft", "ct")]
    every = [t + step for t in near for step in (-1, 0, 1)] + [times.micros(datetime.now(UTC) + timedelta(days=1))]
    return chosen.sample(every, min(len(every), 12))
