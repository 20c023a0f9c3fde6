"""A server reads no files, calls no other servers for its callers, and discloses no paths."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureStore, FeatureView, Settings, Source
from featurestore.errors import DefinitionError, RequestError
from featurestore.files import confinement
from tests import shop
from tests.server.test_errors import error_of

ROWS = pa.table({"id": [1, 2], "at": pa.array([shop.days(3), shop.days(2)], pa.timestamp("us", tz="UTC")), "x": [1.0, 2.0]})


def view(path: Path) -> FeatureView:
    """The definitions of a view over files, as JSON."""
    source = Source("files", path=str(path), timestamp="at")
    return FeatureView("seen", entity=Entity("thing", keys="id"), source=source, features={"x": "x"})


class World:
    """A server that may read files below `open`, and files beside that folder."""

    def __init__(self, folder: Path, http: httpx.Client, store: FeatureStore) -> None:
        self.folder, self.http, self.store = folder, http, store

    def definitions(self, path: str) -> dict[str, Any]:
        """A view of files, as clients send it."""
        source = {"name": "files", "path": path, "timestamp": "at"}
        seen = {"name": "seen", "entity": {"name": "thing", "keys": "id"}, "source": source, "features": {"x": "x"}}
        return {"definitions": {"views": [seen]}}

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, json=body)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    for name in ("open", "closed", "open/inner", "openly"):
        (folder / name).mkdir()
        pq.write_table(ROWS, folder / name / "rows.parquet")
    (folder / "open" / "out").symlink_to(folder / "closed")
    (folder / "open" / "out.parquet").symlink_to(folder / "closed" / "rows.parquet")
    settings = Settings(home=folder / "home", source_folders=[folder / "open"])
    with FeatureStore(settings=settings) as store, shop.serving(store, jobs=True) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield World(folder, http, store)


OUTSIDE = """
{}/closed/rows.parquet {}/openly/rows.parquet {}/closed/none.parquet {}/open/../closed/rows.parquet {}/open*/rows.parquet
{}/open/out/rows.parquet {}/open/out.parquet {}/open/*.parquet {}/open/*/rows.parquet {}/op[e]n/rows.parquet
file://{}/open/rows.parquet file:{}/open/rows.parquet ~/rows.parquet ~root/x.parquet rows.parquet /etc/*.csv {}/%6fpen/rows.parquet
http://127.0.0.1:1/x.parquet s3://lake/x.parquet /**/*.parquet /proc/self/cwd/x.csv //x/x.csv
""".split()


@pytest.mark.parametrize("path", OUTSIDE)
def test_files_elsewhere_are_not_read(world: World, path: str) -> None:
    for call in ("/v1/plan", "/v1/apply"):
        answer = world.post(call, world.definitions(path.format(world.folder)))
        assert answer.status_code in (400, 422), answer.text
        # Of an address, what it names is refused by the other setting.
        assert ("source_locations" if "://" in path else "source_folders") in answer.text
        assert "closed/" not in answer.text.replace("open/../closed/", "")
    assert world.http.get("/v1/views").json() == []


def test_the_existence_of_a_file_is_not_disclosed(world: World) -> None:
    there, none = (world.post("/v1/plan", world.definitions(f"{world.folder}/closed/{name}.parquet")).text for name in ("rows", "none"))
    assert there == none.replace("none", "rows")


def test_a_source_alone_is_refused_as_well(world: World) -> None:
    source = {"name": "files", "path": f"{world.folder}/closed/rows.parquet", "timestamp": "at"}
    error = error_of(world.post("/v1/apply", {"definitions": {"sources": [source]}}), 422, "DefinitionError")
    assert error["details"]["problems"][0]["field"] == "path"
    assert world.http.get("/v1/sources").json() == []


def test_the_content_of_a_folder_is_not_disclosed(world: World) -> None:
    answer = world.post("/v1/plan", world.definitions(f"{world.folder}/open/row.parquet"))
    assert answer.status_code in (404, 422)
    assert "rows.parquet" not in answer.text


def test_files_below_a_named_folder_are_read(world: World) -> None:
    path = world.folder / "open" / "inner" / "*.parquet"
    assert world.post("/v1/plan", world.definitions(str(path))).is_success
    assert world.http.get("/v1/views").json() == []


@pytest.mark.slow
def test_a_job_reads_no_file_elsewhere(world: World) -> None:
    """The link is created after the definition was accepted; a local store may still read through it."""
    inner = world.folder / "open" / "later"
    inner.mkdir()
    pq.write_table(ROWS, inner / "rows.parquet")
    definitions = world.definitions(f"{inner}/*.parquet")
    try:
        assert world.post("/v1/apply", definitions).is_success
        (inner / "rows.parquet").unlink()
        (inner / "rows.parquet").symlink_to(world.folder / "closed" / "rows.parquet")
        job = world.post("/v1/materializations", {}).json()
        state = world.http.get(job["url"], params={"wait": 60}).json()
        assert state["state"] == "failed"
        assert "source_folders" in state["error"]["message"]
        assert str(world.folder) not in json.dumps(state)
        assert world.store.materialize()[0].rows_appended == 2
    finally:
        world.http.delete("/v1/views/seen")


def test_a_local_store_reads_any_folder(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    with FeatureStore(home=tmp_path / "home") as store:
        store.plan([view(tmp_path / "rows.parquet")])
        with pytest.raises(DefinitionError, match=r"rows\.parquet"):
            store.plan([view(tmp_path / "row.parquet")])


def test_pinned_files_are_checked_again(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="source_folders"):
        confinement.refuse_outside(["/etc/passwd"], [tmp_path])


ADDRESSES = """
http://127.0.0.1:1/x file:///etc /etc/x ../x s3://b/k models://host/x/1 runs://a@b/x/y mlflow-artifacts:/x dbfs:/x Models:/x/1
ftp://127.0.0.1:1/x x/models:/a/1
""".split()


@pytest.mark.parametrize("address", [*ADDRESSES, " models:/x/1"])
def test_only_mlflows_own_addresses_are_asked_for(world: World, address: str) -> None:
    answers = [
        world.http.post("/v1/comparisons", json={"a": address, "b": "x"}),
        world.http.post(f"/v1/training-sets/{address.replace('..', '%2E%2E')}/rebuild"),
    ]
    error = error_of(answers[0], 400, "RequestError")
    assert "models:/" in error["message"]
    assert answers[1].status_code in (400, 404, 405)
    assert "MLflow" not in answers[1].text


REFUSALS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/views/x", None),
    ("GET", "/v1/services/x", None),
    ("GET", "/v1/training-sets/x", None),
    ("GET", "/v1/training-sets/x/data", None),
    ("GET", "/v1/training-sets/x/files", None),
    ("GET", "/v1/training-sets/x/statistics", None),
    ("POST", "/v1/training-sets/x/rebuild", None),
    ("POST", "/v1/comparisons", {"a": "x", "b": "y"}),
    ("POST", "/v1/rebuilds", {"id": "x"}),
    ("POST", "/v1/repairs", {"dry_run": True}),
    ("GET", "/v1/materializations/x", None),
    ("DELETE", "/v1/materializations/x", None),
    ("DELETE", "/v1/views/x", None),
    ("DELETE", "/v1/views/x/versions/1", None),
    ("DELETE", "/v1/services/x", None),
    ("POST", "/v1/services/x/online", {"entities": []}),
    ("POST", "/v1/materializations", {"names": ["x"]}),
    ("POST", "/v1/maintenance", {"older_than": "x"}),
    ("POST", "/v1/training-sets", {"service": "x", "timestamp": "t", "spine": {"table": "a.b"}}),
    ("POST", "/v1/point-in-time", {"service": "x", "timestamp": "t", "spine": {"sql": "SELECT 1"}}),
    ("POST", "/v1/plan", {"definitions": {"sources": [{"name": "s", "table": "a.b", "timestamp": "t"}]}}),
    ("GET", "/nothing", None),
]


def broken(home: Path, online: str | None) -> FeatureStore:
    """A store whose folder has a file in place of a folder, and an invalid database file."""
    home.mkdir()
    (home / "online").write_text("no folder")
    (home / "warehouse").write_text("no folder")
    (home / "catalog.db").write_text("no database" * 100)
    return FeatureStore(settings=Settings(home=home, online=online))


@pytest.mark.parametrize("online", [None, "lmdb:///proc/none"])
def test_no_error_discloses_a_path(tmp_path: Path, world: World, online: str | None) -> None:
    with broken(tmp_path / "my home", online) as store, shop.serving(store) as url, httpx.Client(base_url=url, timeout=60) as http:
        for client in (http, world.http):
            for method, path, body in [*REFUSALS, ("GET", "/readyz", None)]:
                answer = client.request(method, path, json=body)
                for place in (tmp_path, world.folder, Path.cwd(), "/proc", "my home", "warehouse/", "catalog.db"):
                    assert str(place) not in answer.text, f"{method} {path}: {answer.text}"
