"""`doctor` asks catalog servers, databases, addresses and workers, and says which of them fails and how to fix it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import s3
from tests.cli.running import run
from tests.faults import rest


def findings() -> list[dict[str, Any]]:
    """What the command finds."""
    told: list[dict[str, Any]] = json.loads(run("doctor", "--json").stdout)["findings"]
    return told


def found(what: str) -> list[dict[str, Any]]:
    """The findings about this."""
    return [finding for finding in findings() if finding["what"] == what]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unsupported, told",
    [
        ((), ["several in one commit, tags, removal of snapshots and tables"]),
        (("tag",), ["use a catalog that has tags"]),
        (("remove-snapshots",), ["use a catalog that can remove snapshots"]),
        (("commit",), ["use a catalog that supports these updates"]),
    ],
)
def test_what_a_catalog_server_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsupported: tuple[str, ...], told: list[str]
) -> None:
    with rest.serving(tmp_path / "rest") as server:
        server.unsupported.update(unsupported)
        monkeypatch.setenv("FEATURESTORE_CATALOG", json.dumps({"type": "rest", "uri": server.uri}))
        told_now = found("catalog's updates")
        assert server.backing.list_tables("registry") == [], "its table is gone"
        assert not list((tmp_path / "rest" / "warehouse").rglob("*.parquet"))
    assert [finding["state"] for finding in told_now] == ["wrong" if unsupported else "ok"]
    for finding, words in zip(told_now, told, strict=True):
        assert words in finding["seen"]


@pytest.mark.slow
def test_databases_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    databases = {"here": "postgresql://root@127.0.0.1:5432/test", "away": "postgresql://root:hidden-word@127.0.0.1:9/test"}
    monkeypatch.setenv("FEATURESTORE_DATABASES", json.dumps(databases))
    monkeypatch.setenv("FEATURESTORE_SOURCE_LOCATIONS", json.dumps(["s3://lake/raw/", "s3://gone/", "https://data.example/"]))
    with s3.server() as endpoint:
        s3.filesystem(endpoint).create_dir("lake/raw")
        monkeypatch.setenv("FEATURESTORE_SOURCE_ACCESS", json.dumps({"s3.endpoint": endpoint, **s3.ACCESS}))
        told = findings()
    states = {finding["what"]: finding["state"] for finding in told if finding["what"].startswith("database")}
    assert states == {"database here": "ok", "database away": "wrong"}
    assert "hidden-word" not in json.dumps(told)
    addresses = {finding["seen"]: finding["state"] for finding in told if finding["what"].startswith("address")}
    assert addresses == {"s3://lake/raw/": "ok", "nothing is at s3://gone/": "note"}


@pytest.mark.slow
def test_workers_that_answer_and_a_scheduler_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.distribution.dask_cluster.CONNECT_SECONDS", 1)
    monkeypatch.setenv("FEATURESTORE_ENGINE", "dask://127.0.0.1:9")
    (closed,) = found("engine")
    assert (closed["state"], "cannot be reached" in closed["seen"]) == ("wrong", True)
    monkeypatch.setenv("FEATURESTORE_ENGINE", "dask://local")
    (answering,) = found("engine")
    assert (answering["state"], answering["seen"].startswith("workers of dask://local compute with featurestore")) == ("ok", True)


def test_workers_with_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from featurestore.distribution import probe  # noqa: PLC0415

    other = probe.Versions("0.0.9", "1.0", "3.9")
    monkeypatch.setattr(probe, "ask_workers", lambda address, seconds: {other, probe.versions()})
    monkeypatch.setenv("FEATURESTORE_ENGINE", "dask://scheduler:8786")
    (finding,) = found("engine")
    assert finding["state"] == "wrong"
    assert str(other) in finding["seen"]
    assert "same versions" in finding["todo"]
