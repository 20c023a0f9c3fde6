"""Erasing, repairing and checking what was pushed: the log is searched, goes on after a loss, and says what is wrong with it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from featurestore import Entity, FeatureStore, FeatureView, Source
from featurestore.errors import NotReady
from featurestore.pipelines.pushed.copying import EventCopier
from tests.cli.running import run

T = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = Source(
    "clicks", schema={"user_id": "bigint", "at": "timestamptz", "note": "varchar", "event_id": "varchar"}, timestamp="at", id="event_id"
)
VIEW = FeatureView("last", entity=Entity("user", keys="user_id"), source=SOURCE, features=["note"])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    store.apply([VIEW])
    return store


def push(store: FeatureStore, user: int, event: str) -> int:
    return store.push("clicks", [{"user_id": user, "at": T, "note": f"secret of {user}", "event_id": event}]).new


def stored(store: FeatureStore) -> list[str]:
    return sorted(store.catalog.load_table("kept.clicks").scan().to_arrow().column("event_id").to_pylist())


def log_bytes(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (tmp_path / "home").glob("push.sqlite*"))


def test_a_key_is_erased_from_the_log(store: FeatureStore, tmp_path: Path) -> None:
    push(store, 1, "a")
    push(store, 2, "b")
    store.materialize()
    push(store, 1, "c")
    assert b"secret of 1" in log_bytes(tmp_path)
    looked = store.erase("user", 1, dry_run=True)
    assert [text for text in looked.remaining if "push log" in text] == [
        "the push log of source clicks: 1 rows wait, which were not searched; an erasure copies them to the table first"
    ]
    done = store.erase("user", 1)
    assert not [text for text in done.remaining if "log" in text or "origin" in text]
    assert stored(store) == ["b"]
    assert b"secret of 1" not in log_bytes(tmp_path)
    # An id counts once, also that of a row that was erased.
    assert push(store, 1, "a") == 0
    store.materialize()
    assert stored(store) == ["b"]


def test_a_lost_log_is_taken_over(store: FeatureStore, tmp_path: Path) -> None:
    push(store, 1, "a")
    store.materialize()
    push(store, 1, "lost")
    store.close()
    for path in (tmp_path / "home").glob("push.sqlite*"):
        path.unlink()
    with pytest.raises(NotReady, match="doctor --repair goes on with this one"):
        push(store, 1, "b")
    home = str(tmp_path / "home")
    found = {finding["what"]: finding for finding in json.loads(run("doctor", "--json", "--home", home).stdout)["findings"]}
    assert (found["table kept.clicks"]["state"], found["pushes to clicks"]["state"]) == ("wrong", "wrong")
    assert [(one.table, one.missing) for one in store.repair()] == [("kept.clicks", 0)]
    assert store.repair() == []
    # The new log does not know the id, but the table has it.
    assert (push(store, 1, "a"), push(store, 1, "b")) == (1, 1)
    store.materialize()
    assert stored(store) == ["a", "b"]
    found = {finding["what"]: finding for finding in json.loads(run("doctor", "--json", "--home", home).stdout)["findings"]}
    assert found["pushes to clicks"]["state"] == "ok"


def test_lost_files_are_copied_again_from_the_log(store: FeatureStore) -> None:
    push(store, 1, "a")
    store.materialize()
    push(store, 1, "b")
    store.materialize()
    table = store.catalog.load_table("kept.clicks")
    newest = max(
        table.inspect.files().to_pylist(), key=lambda file: Path(str(file["file_path"]).removeprefix("file://")).stat().st_mtime_ns
    )
    Path(str(newest["file_path"]).removeprefix("file://")).unlink()
    assert [one.table for one in store.repair()] == ["kept.clicks"]
    assert stored(store) == ["a"]
    EventCopier(store.backend.runtime).copy()
    assert stored(store) == ["a", "b"]
