"""`push` sends the rows of a file in parts, and `show sources` says what came of them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore, Source
from featurestore.cli import push
from tests.cli.running import run

SCHEMA = {"user_id": "bigint", "at": "timestamptz", "event_id": "varchar"}


def test_files_are_pushed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(push, "PART_ROWS", 2)
    FeatureStore(home=".featurestore").apply([Source("clicks", schema=SCHEMA, timestamp="at", id="event_id")])
    lines = [json.dumps({"user_id": n, "at": "2026-03-01", "event_id": str(n)}) for n in range(3)]
    Path("a.jsonl").write_text("\n\n".join(lines))
    assert json.loads(run("push", "clicks", "a.jsonl", "--json").stdout) == {"source": "clicks", "rows": 3, "new": 3, "known": 0}
    # The ids of a CSV file stay texts.
    Path("b.csv").write_text("user_id,at,event_id\n1,2026-03-01T00:00:00Z,2\n1,2026-03-01T00:00:00Z,3\n")
    assert json.loads(run("push", "clicks", "b.csv", "--json").stdout)["new"] == 1
    pq.write_table(pa.table({"user_id": [1], "event_id": ["4"], "at": pa.array([0], pa.timestamp("us", "UTC"))}), "c.parquet")
    assert "1 of 1 row new" in run("push", "clicks", "c.parquet").stdout
    Path("bad.jsonl").write_text("\n".join([*lines, '{"user_id": "x", "at": "2026-03-01", "event_id": "9"}']))
    failed = run("push", "clicks", "bad.jsonl")
    assert failed.exit_code == 1
    assert "bad.jsonl, counted from row 2: rows: row 1 of the frame, column 'user_id'" in failed.stderr
    Path("no.jsonl").write_text("x")
    assert "line 1 of no.jsonl is not JSON" in run("push", "clicks", "no.jsonl").stderr
    assert "cannot be read" in run("push", "clicks", "nowhere.jsonl").stderr
    shown = json.loads(run("show", "sources", "--json").stdout)[0]["log"]
    assert (shown["rows"], shown["rows_per_minute"], shown["waiting"], shown["refused"], shown["problem"]) == (5, 5, 5, 2, "")
    assert (shown["refusal"], shown["last_event"]) == ("TypeMismatch in user_id", "2026-03-01T00:00:00.000000Z")
    printed = run("show", "sources").stdout
    assert "pushes" in printed
    assert "2 (TypeMismatch in" in printed
    Path(".featurestore/push.sqlite").unlink()
    assert "names another log" in run("show", "sources").stdout.replace("\n", " ")
