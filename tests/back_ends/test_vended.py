"""Credentials that a REST catalog hands out: used for every file of their table, and renewed; those for the catalog are checked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore.errors import NotReady
from featurestore.lakehouse import dropping, scans, tables, vended_io, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests import s3
from tests.back_ends.rest import gate, server
from tests.granting import grant
from tests.lakehouse.data import EVENTS, events, reader

pytestmark = pytest.mark.slow
Served = tuple[str, str, gate.Gate]


@pytest.fixture(scope="module")
def served(rest_classes: str) -> Iterator[Served]:
    """A catalog whose credentials last three minutes, the address of its S3, and that one's gate."""
    with gate.gated_server() as (endpoint, guard), server.serving(rest_classes, "s3://lake/vended", endpoint, 180_000) as address:
        yield address, endpoint, guard


def settings(address: str, home: Path, **changed: str) -> Settings:
    properties = {**server.properties(address), **changed}
    return Settings(home=home, warehouse=server.WAREHOUSE, catalog={name: value for name, value in properties.items() if value})


def test_credentials_are_renewed_before_they_expire(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, endpoint, guard = served
    # Without the address for tokens, the catalog itself is asked for them.
    with open_catalog(settings(address, tmp_path, **{"oauth2-server-uri": ""})) as catalog:
        table = tables.create(catalog, "features.renewed", EVENTS, month_of="t")
        first = writes.append(table, reader(events((1, "2026-01-01", "a"))), summary={})
        guard.expire()
        with pytest.raises(NotReady, match=r"the credentials for the warehouse have expired \(s3://lake/.*\); run the same again"):
            writes.append(table, reader(events((2, "2026-01-02", "b"))), summary={})
        assert tables.load(catalog, "features.renewed").snapshot_id == first
        now = vended_io.now_ms()
        monkeypatch.setattr(vended_io, "now_ms", lambda: now + 100_000)
        second = writes.append(table, reader(events((2, "2026-01-02", "b"))), summary={})
        rows = scans.read_snapshot(grant(table), second).read_all()
        assert sorted(rows["k"].to_pylist()) == [1, 2]
        identity = dropping.identity_of(table)
        assert dropping.drop_table(catalog, "features.renewed", identity).files > 0
        assert s3.stored_names(endpoint, "lake/vended/features/renewed") == set()


def test_files_of_a_table_that_is_gone_cannot_be_looked_at(served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    address, endpoint, _ = served
    with open_catalog(settings(address, tmp_path)) as catalog:
        table = tables.create(catalog, "features.gone", EVENTS)
        identity = dropping.identity_of(table)
        catalog.drop_table("features.gone")
        assert dropping.drop_table(catalog, "features.gone", identity) == dropping.FolderContents(0, 0)
        assert f"files may be left in {identity.location}" in caplog.text
        assert s3.stored_names(endpoint, "lake/vended/features/gone")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"credential": "robot:wrong"}, r"does not accept this user; check the token or credential"),
        ({"scope": "sea"}, r"does not accept this user; check the token or credential"),
        ({"credential": "", "token": "old"}, r"does not accept this user; check the token or credential"),
        ({"warehouse": "sea-lake"}, r"cannot be opened: .*no warehouse .*sea-lake"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_the_catalog_refuses_is_told(served: Served, tmp_path: Path, changed: dict[str, str], message: str) -> None:
    chosen = settings(served[0], tmp_path, **changed)
    if "warehouse" in changed:
        chosen = chosen.model_copy(update={"warehouse": None})
    with pytest.raises(NotReady, match=message) as caught:
        open_catalog(chosen)
    assert "hard-to-guess" not in str(caught.value)
