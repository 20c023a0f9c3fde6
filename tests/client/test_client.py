"""The client with a faulty network or server; tests/contract tests its methods."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import h11
import pyarrow as pa
import pytest

import featurestore
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, connect
from featurestore.client.answers import ERROR_TYPES, decode_error
from featurestore.client.store import RemoteStore
from featurestore.errors import FeatureStoreError, NotReady, RequestError
from tests import forged, shop
from tests.worlds import STAMP, load_source


@contextmanager
def answering(*parts: bytes, silent: bool = False) -> Iterator[str]:
    """The URL of a server that answers one connection with these bytes, and then closes it, or says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                hear(connection)
                for part in parts:
                    connection.sendall(part)
                if silent:
                    done.wait(30)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def hear(connection: socket.socket) -> None:
    """Read the whole request: a socket closed on words it has not read resets the connection, and takes its answer back."""
    request = h11.Connection(h11.SERVER)
    while not isinstance(event := request.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            request.receive_data(connection.recv(65_536))


def head(status: str, kind: str, length: int | None) -> bytes:
    """The head of a response; without a length it is cut into chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{size}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with connect(url) as store, pytest.raises(NotReady, match=url):
        store.views()


def test_what_is_no_address() -> None:
    for url in ("localhost:8080", "ftp://x", ""):
        with pytest.raises(RequestError, match="http://host:port"):
            connect(url)


def test_someone_who_says_nothing() -> None:
    with answering(silent=True) as url, connect(url, timeout=0.2) as store, pytest.raises(NotReady, match="did not answer in"):
        store.views()


@pytest.mark.parametrize(
    "answer",
    [
        head("200 OK", "text/html", 6) + b"<html>",
        head("502 Bad Gateway", "text/html", 6) + b"<html>",
        head("500 No", "application/json", 2) + b"{}",
        head("404 No", "application/json", 14) + b'{"detail": ""}',
    ],
)
def test_someone_else(answer: bytes) -> None:
    with answering(answer) as url, connect(url) as store, pytest.raises(NotReady, match="feature store server"):
        store.views()


def test_half_an_answer() -> None:
    with answering(head("200 OK", "application/json", 100) + b"[1") as url, connect(url) as store, pytest.raises(NotReady):
        store.views()


def test_a_stream_that_breaks_off_is_no_end() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, shop.spine().schema) as writer:
        writer.write_table(shop.spine())
    whole = sink.getvalue().to_pybytes()
    cut = whole[: len(whole) - 8]
    arrow = "application/vnd.apache.arrow.stream"
    with answering(head("200 OK", arrow, None), chunk(whole), b"0\r\n\r\n") as url, connect(url) as store:
        assert store.point_in_time("x", "SELECT 1", "t").equals(shop.spine())
    with answering(head("200 OK", arrow, 6), b"<html>") as url, connect(url) as store, pytest.raises(NotReady, match="with rows"):
        store.point_in_time("x", "SELECT 1", "t")
    with answering(head("200 OK", arrow, None), chunk(cut)) as url, connect(url) as store, pytest.raises(NotReady):
        store.point_in_time("x", "SELECT 1", "t")


@pytest.mark.parametrize("forge", [forged.forged_offsets, forged.forged_list_offsets, forged.forged_indices, forged.forged_views])
def test_forged_rows_are_no_answer(forge: Callable[[pa.Table], bytes]) -> None:
    whole = forge(shop.spine())
    arrow = "application/vnd.apache.arrow.stream"
    with answering(head("200 OK", arrow, len(whole)), whole) as url, connect(url) as store, pytest.raises(NotReady, match="with rows"):
        store.point_in_time("x", "SELECT 1", "t")


@pytest.mark.slow
def test_mutated_rows_are_no_answer_or_valid() -> None:
    whole = forged.stream(shop.spine())
    arrow = "application/vnd.apache.arrow.stream"
    for changed in forged.mutated(whole, "client", 60):
        with answering(head("200 OK", arrow, len(changed)), changed) as url, connect(url) as store, suppress(NotReady):
            store.point_in_time("x", "SELECT 1", "t").validate(full=True)


@pytest.mark.parametrize("answer", [b"null", b"3", b"NaN", b'"text"', b'{"name": "x"}', b"[1]", b"[[]]", b"[{}, null]"])
def test_a_list_of_another_form(answer: bytes) -> None:
    for ask in (RemoteStore.views, RemoteStore.training_sets):
        with (
            answering(head("200 OK", "application/json", len(answer)), answer) as url,
            connect(url) as store,
            pytest.raises(NotReady, match="feature store server"),
        ):
            ask(store)


@pytest.mark.parametrize("answer", [b"null", b"3", b"[]", b'[["a", 1]]', b'"ab"'])
def test_an_object_of_another_form(answer: bytes) -> None:
    with (
        answering(head("200 OK", "application/json", len(answer)), answer) as url,
        connect(url) as store,
        pytest.raises(NotReady, match="feature store server"),
    ):
        store.view("x")


def test_an_answer_that_is_not_compressed_as_it_says() -> None:
    false = head("200 OK", "application/json", 2).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + b"[]"
    with answering(false) as url, connect(url) as store, pytest.raises(NotReady, match="is compressed, which was not asked for"):
        store.views()
    with answering(false) as url, connect(url) as store, pytest.raises(NotReady, match="is compressed, which was not asked for"):
        store.point_in_time("x", "SELECT 1", "t")


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"3", b'{"features": 3, "types": null}', b"[" * 50_000, b'"' + b"x" * 10 + b'"'])
def test_json_of_another_form(answer: bytes) -> None:
    with (
        answering(head("200 OK", "application/json", len(answer)), answer) as url,
        connect(url) as store,
        pytest.raises(NotReady, match="feature store server"),
    ):
        store.online_features("x", [{}])


def test_tokens(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, token="s3cret-token")
    with FeatureStore(settings=settings) as store, shop.serving(store) as url:
        with connect(url, token="s3cret-token") as right:
            assert right.views() == []
        for wrong in (None, "other"):
            with connect(url, token=wrong) as store_without, pytest.raises(RequestError, match="asks for a token"):
                store_without.views()


@pytest.mark.parametrize("kind", ERROR_TYPES.values())
def test_every_error_comes_back_as_itself(kind: type[FeatureStoreError]) -> None:
    problem = {"message": "m", "object": "view 'x'", "field": "f", "file": None, "line": None}
    details = {"problems": [problem]} if kind.__name__ == "DefinitionError" else {"a": 1}
    error = decode_error({"type": kind.__name__, "message": "said", "details": details})
    assert type(error) is kind
    assert error.details == details
    if kind.__name__ != "DefinitionError":
        assert str(error) == error.message == "said"


def test_unknown_errors_are_still_ours() -> None:
    assert type(decode_error({"type": "InternalError", "message": "m"})) is FeatureStoreError
    assert type(decode_error({"type": "MethodNotAllowed", "message": "m"})) is RequestError


@pytest.mark.slow
def test_rows_are_read_as_they_come(own_shop: FeatureStore) -> None:
    with shop.serving(own_shop, jobs=True) as url, connect(url, timeout=60) as store:
        count = 200_000
        spine = pa.table({"customer_id": pa.array([1] * count, pa.int64()), "at": pa.array([shop.days(1)] * count, shop.TIME)})
        made = store.training_set("plain", spine.to_reader(10_000), timestamp="at")
        batches = made.to_batches(10_000)
        assert next(batches).num_rows == 10_000
        assert sum(batch.num_rows for batch in batches) == count - 10_000
        given_up = made.read()
        given_up.read_next_batch()
        given_up.close()
        assert store.views(), "a stream given up holds no connection"
        assert made.files() == own_shop.get_training_set(made.id).files()


def test_verbs_may_be_called_from_several_threads(own_shop: FeatureStore) -> None:
    with shop.serving(own_shop, jobs=True) as url, connect(url, timeout=60) as store:
        found: list[int] = []

        def ask() -> None:
            for _ in range(20):
                found.extend(store.online_features("plain", [{"customer_id": 1}]).rows[0][:1])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [2] * 160


def test_the_state_of_a_server(own_shop: FeatureStore) -> None:
    with shop.serving(own_shop) as url, connect(url) as store:
        state = store.parts()
    assert (state["online store"], state.ok) == ("ok", True)
    assert state == dict(state) == state.to_dict()


def test_the_package_exports_it() -> None:
    assert featurestore.connect is connect


def test_decimals_have_their_scale_also_where_they_are_zero(tmp_path: Path) -> None:
    rows = pa.table(
        {"k": [1, 2], "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2, STAMP), "d": pa.array([Decimal("0.00"), Decimal("1.50")])}
    )
    with FeatureStore(home=tmp_path) as store:
        load_source(store, "raw.s", rows)
        view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", table="raw.s", timestamp="at"), features=["d"])
        store.apply([FeatureService("svc", features=[view])])
        store.materialize()
        with shop.serving(store) as url, connect(url) as remote:
            for asked in (store, remote):
                found = asked.online_features("svc", [{"k": 1}, {"k": 2}]).rows
                assert [str(value) for (value,) in found] == ["0.00", "1.50"]


def test_what_a_job_refuses_is_the_error_of_the_request(own_shop: FeatureStore) -> None:
    with shop.serving(own_shop) as url, connect(url) as store:
        for ask in (lambda: store.compare("file:///x", "y"), lambda: store.rebuild("https://host/x")):
            with pytest.raises(RequestError, match="models:/"):
                ask()
