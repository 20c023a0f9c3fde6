"""Files in object stores and at HTTP addresses: copied with credentials from settings, and only from where a server may read."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore, FeatureView, Settings, Source
from featurestore.errors import DefinitionError, NotFound, NotReady, RequestError
from featurestore.files import http_files, object_files
from featurestore.files.http_files import HttpFile
from featurestore.files.locations import refuse_location
from featurestore.files.object_files import ObjectFiles
from featurestore.store.feature_store import confine
from tests import s3
from tests.sources.kept import events

PATTERN = "s3://lake/events/day=*/*.parquet"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> Iterator["Bucket"]:
    bucket = Bucket(endpoint, tmp_path)
    yield bucket
    bucket.files.delete_dir_contents("lake", missing_dir_ok=True)


class Bucket:
    """The bucket of the server, and a store that may read it."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.files = s3.filesystem(endpoint)
        self.access = {"s3.endpoint": endpoint, **s3.ACCESS}
        self.settings = Settings(home=folder / "home", source_access=self.access)

    def put(self, day: int, amounts: list[float]) -> None:
        pq.write_table(events.rows(day, amounts), f"lake/events/day=2026-01-{day + 1:02d}/a.parquet", filesystem=self.files)


@pytest.mark.slow
def test_new_changed_and_removed_objects_give_what_folders_give(bucket: Bucket, tmp_path: Path) -> None:
    def put(day: int, amounts: list[float]) -> None:
        bucket.put(day, amounts)
        events.write(tmp_path / "same", day, amounts)

    put(0, [1.0, 2.0])
    put(1, [3.0])
    store = FeatureStore(settings=bucket.settings)
    events.serve(store, Source("events", path=PATTERN, timestamp="at"))
    put(2, [4.0, 5.0])
    put(0, [1.0, 7.0])
    bucket.files.delete_file("lake/events/day=2026-01-02/a.parquet")
    (tmp_path / "same" / "day=2026-01-02" / "a.parquet").unlink()
    store.materialize()
    events.serve(store, Source("same", path=str(tmp_path / "same" / "day=*" / "*.parquet"), timestamp="at"), "same")
    assert events.joined(store) == events.joined(store, "same")
    assert events.kept(store).properties["featurestore.origin"] == PATTERN


def test_what_is_not_there_is_an_error_and_never_an_empty_source(bucket: Bucket, endpoint: str) -> None:
    bucket.put(0, [1.0])
    files = ObjectFiles(PATTERN, bucket.access)
    (path,) = files.states()
    assert path == "s3://lake/events/day=2026-01-01/a.parquet"
    for pattern in ("s3://lake/none/*.parquet", "s3://lake/events/day=2026-01-01/b.parquet", "s3://none/x.parquet", "s3://none/*.parquet"):
        with pytest.raises(NotFound):
            ObjectFiles(pattern, bucket.access).states()
    with s3.without_bucket("lake"), pytest.raises(NotFound):
        ObjectFiles("s3://lake/*.parquet", bucket.access).states()


def test_an_object_that_changes_while_it_is_copied_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(0, [1.0])
    files = ObjectFiles(PATTERN, bucket.access)
    ((path, state),) = files.states().items()
    bucket.put(0, [1.0, 2.0])
    with pytest.raises(RequestError, match="was changed, replaced or removed while it was copied"):
        files.fetch(path, state, tmp_path / "copy")


def test_an_object_of_this_second_has_another_state_later(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put(0, [1.0])
    files = ObjectFiles(PATTERN, bucket.access)
    (state,) = files.states().values()
    assert state.endswith(":new")
    monkeypatch.setattr(object_files, "_SETTLED_NS", -1 << 62)
    (later,) = files.states().values()
    assert later == state.removesuffix(":new")


def test_a_server_that_does_not_answer_is_given_up_on_without_secrets(tmp_path: Path) -> None:
    access = {"s3.endpoint": "http://127.0.0.1:9", "s3.access-key-id": "id", "s3.secret-access-key": "hidden-key", "s3.region": "x"}
    with pytest.raises(NotReady) as raised:
        ObjectFiles("s3://lake/x.parquet", {**access, "s3.connect-timeout": "0.2"}).states()
    assert "hidden-key" not in f"{raised.value} {raised.value.details}"


class Served(SimpleHTTPRequestHandler):
    """Serves a folder, after as many failures as `failures` says."""

    failures = 0

    def send_head(self) -> object:  # type: ignore[override]
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
            return None
        if self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
            return None
        return super().send_head()

    def log_message(self, *given: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the folder `web`."""
    (tmp_path / "web").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_file_of_a_web_server_is_copied_again_when_it_changes(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "_PAUSE_SECONDS", 0)
    pq.write_table(events.rows(0, [1.0]), tmp_path / "web" / "x.parquet")
    store = FeatureStore(home=tmp_path / "home")
    store.apply([FeatureView("last", entity=events.USER, source=Source("e", path=f"{web}/x.parquet", timestamp="at"), features=["amount"])])
    Served.failures = 2
    store.materialize()
    pq.write_table(events.rows(0, [1.0, 2.0, 3.0]), tmp_path / "web" / "x.parquet")
    store.materialize()
    assert events.kept(store).scan().to_arrow().column("amount").to_pylist() == [1.0, 2.0, 3.0]


def test_a_web_server_that_fails_redirects_or_has_no_file_is_named(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "_PAUSE_SECONDS", 0)
    with pytest.raises(NotFound, match=r"/none\.parquet"):
        HttpFile(f"{web}/none.parquet").states()
    with pytest.raises(RequestError, match="redirects elsewhere, which is not followed"):
        HttpFile(f"{web}/elsewhere.parquet").states()
    Served.failures = http_files.ATTEMPTS
    with pytest.raises(NotReady, match="answers 503"):
        HttpFile(f"{web}/none.parquet").states()
    with pytest.raises(NotReady, match="does not answer"):
        HttpFile("http://127.0.0.1:9/x.parquet").states()


@pytest.mark.parametrize(
    "address, allowed",
    [
        ("s3://lake/raw/a.parquet", True),
        ("s3://lake/raw/day=*/a.parquet", True),
        ("s3://lake/rawer/a.parquet", False),
        ("s3://other/raw/a.parquet", False),
        ("s3://lake/raw/../secret/a.parquet", False),
        ("s3://lake/raw/%2e%2e/secret/a.parquet", False),
        ("s3://lake/raw/%252e%252e/secret/a.parquet", False),
        ("https://data.example/x/a.parquet", True),
        ("http://data.example/x/a.parquet", False),
        ("https://data.example@evil.example/x/a.parquet", False),
        ("https://data.example.evil.example/x/a.parquet", False),
        ("https://data.example:8443/x/a.parquet", False),
        ("http://169.254.169.254/latest/a.parquet", False),
        ("postgresql://db/shop", True),
        ("postgresql://db/other", False),
    ],
)
def test_a_server_reads_only_where_its_setting_says(address: str, allowed: bool) -> None:
    locations = ("s3://lake/raw/", "https://data.example/x", "postgresql://db/shop")
    refuse_location(address, None)
    if allowed:
        refuse_location(address, locations)
    else:
        with pytest.raises(RequestError, match="source_locations"):
            refuse_location(address, locations)


def test_definitions_of_clients_are_refused_before_anything_is_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*given: object) -> object:
        raise AssertionError("connected")

    settings = Settings(home=tmp_path / "home", source_locations=("s3://lake/raw",))
    places: list[dict[str, str]] = [
        {"path": "s3://lake/other/x.parquet"},
        {"path": "http://169.254.169.254/x.parquet"},
        {"url": "postgresql://10.0.0.1/shop", "table": "orders", "watermark": "at"},
        {"url": "postgresql://me:hunter2@10.0.0.1/shop", "table": "orders", "watermark": "at"},
    ]
    with FeatureStore(settings=settings) as store:
        served = confine(store)
        monkeypatch.setattr("socket.socket.connect", connect)
        for place in places:
            source = Source("e", timestamp="at", **place)  # type: ignore[arg-type]
            view = FeatureView("last", entity=events.USER, source=source, features=["amount"])
            with pytest.raises(DefinitionError, match=r"source_locations|has a password") as raised:
                served.plan([view])
            assert "hunter2" not in str(raised.value)
