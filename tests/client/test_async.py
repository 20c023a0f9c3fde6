"""The asyncio client: the methods, results and errors of the other one, over connections that stay open."""

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from featurestore import Store, connect, connect_async
from featurestore.client import AsyncRemoteStore, RemoteStore
from featurestore.client.async_training_set import AsyncTrainingSet
from featurestore.client.verbs import ARROW_ENTITIES, ServerVerbs
from featurestore.errors import Busy, Conflict, NotFound, NotReady, RequestError
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests import shop
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = VENDOR_WARNINGS

ONE = [{"customer_id": 1}]


def verbs(kind: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_signatures_are_those_of_the_other_client_and_of_a_store() -> None:
    here, there, shared = verbs(AsyncRemoteStore), verbs(RemoteStore), verbs(Store)
    assert here.keys() == there.keys()
    assert here.keys() >= shared.keys()
    for name, method in here.items():
        assert inspect.iscoroutinefunction(method), name
        expected = [
            (parameter.name, parameter.default, parameter.kind)
            for parameter in inspect.signature(shared.get(name, there[name])).parameters.values()
        ]
        assert [
            (parameter.name, parameter.default, parameter.kind) for parameter in inspect.signature(method).parameters.values()
        ] == expected, name
        assert method.__doc__ == there[name].__doc__
    assert verbs(ServerVerbs).keys() == there.keys() - {"close"}


def test_a_training_set_has_what_the_other_has() -> None:
    blocking = {name for name in (*dir(TrainingSet), *TrainingSet.__dataclass_fields__) if not name.startswith("_")}
    here = {name for name in dir(AsyncTrainingSet) if not name.startswith("_")}
    assert here - {"blocking"} <= blocking


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shop behind a server that does jobs."""
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store, shop.serving(store, jobs=True) as served:
        yield served


@pytest.mark.slow
def test_reads_are_those_of_the_other_client(url: str) -> None:
    async def ask() -> None:
        async with connect_async(url) as store:
            with connect(url) as other:
                for count in (1, ARROW_ENTITIES):
                    ours = await store.online_features("plain", ONE * count)
                    assert repr(ours) == repr(other.online_features("plain", ONE * count))
                assert await store.views() == other.views()
                assert await store.view("customer_orders") == other.view("customer_orders")
                assert await store.services() == other.services()
                assert await store.models() == []
                assert await store.parts() == other.parts()
            assert not (await store.plan(shop.DEFINITIONS)).changed
            joined = await store.point_in_time("churn", shop.spine(), "asked_at")
            assert joined.num_rows == 3
            with pytest.raises(NotFound, match="did you mean 'plain'"):
                await store.online_features("plan", ONE)
            with pytest.raises(RequestError, match="entities must be a list"):
                await store.online_features("plain", 3)  # type: ignore[arg-type]
            with pytest.raises(NotFound, match=r"no model .nothing."):
                await store.predict("nothing", ONE)

    asyncio.run(ask())


def test_a_training_set_is_made_and_read(url: str) -> None:
    async def ask() -> None:
        store = await connect_async(url)
        seen: list[Any] = []
        made = await store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned", progress=seen.append)
        assert seen
        again = await store.get_training_set(made.id)
        assert (again.id, again.digest, again.snapshots, again.name) == (made.id, made.digest, made.snapshots, "churn")
        table = await made.to_arrow(["customer_id", "orders_7d"])
        assert table["customer_id"].to_pylist() == [1, 99, None]
        assert [batch.num_rows async for batch in made.to_batches(rows=2)] == [2, 1]
        async for _ in made.to_batches(rows=1):
            break
        assert len(await made.to_pandas()) == 3
        assert (await made.files()).table == "training_sets.churn"
        assert (await made.statistics())["rows"] == 3
        assert made.blocking.to_arrow().num_rows == 3
        assert (await store.rebuild(made.id)).digest == made.digest
        with pytest.raises(NotFound):
            await store.get_training_set("churn-0123456789abcdef")
        with pytest.raises((Conflict, NotFound)):
            await store.cancel(made.id)
        await store.close()

    asyncio.run(ask())


def test_many_tasks_share_connections(url: str) -> None:
    async def ask() -> None:
        async with connect_async(url) as store:
            answers = await asyncio.gather(*(store.online_features("plain", [{"customer_id": index % 3}]) for index in range(60)))
            assert [answer.rows[0][0] for answer in answers[:3]] == [None, 2, 0]
            assert {repr(answer.rows) for answer in answers} == {repr(answer.rows) for answer in answers[:3]}

    asyncio.run(ask())


class Scripted(ThreadingHTTPServer):
    """A server that gives one answer after the other, the last for ever: a status with a Retry-After, nothing, or an empty listing."""

    def __init__(self, answers: Sequence[int | str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = list(answers), 0
        self.connections: set[Any] = set()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        server = self.server
        server.connections.add(self.client_address)
        answer = server.answers[min(server.asked, len(server.answers) - 1)]
        server.asked += 1
        if answer == "silent":
            server.ended.wait(30)
        if isinstance(answer, str) and answer != "empty":
            self.close_connection = True
            return
        body = b"[]" if answer == "empty" else b'{"error": {"type": "Busy", "message": "full", "details": {}}}'
        self.send_response(200 if answer == "empty" else 503)
        if isinstance(answer, int):
            self.send_header("Retry-After", str(answer))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def open_scripted_server(*answers: int | str) -> Iterator[Scripted]:
    """A server with these answers."""
    with Scripted(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


@asynccontextmanager
async def either(kind: str, url: str, **options: Any) -> AsyncIterator[Any]:
    """A function that lists views by one of the clients."""
    if kind == "asyncio":
        async with connect_async(url, **options) as store:
            yield store
    else:
        with connect(url, **options) as other:
            yield Waiting(other)


class Waiting:
    """The other client, whose methods are awaited in a thread."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            return await asyncio.to_thread(getattr(self._store, name), *arguments)

        return call


KINDS = pytest.mark.parametrize("kind", ["asyncio", "threads"])


@KINDS
def test_a_busy_server_is_asked_again_when_it_says(kind: str) -> None:
    async def ask(server: Scripted) -> None:
        async with either(kind, server.url) as store:
            began = time.monotonic()
            assert await store.views() == []
            assert time.monotonic() - began >= 1
        assert server.asked == 3

    with open_scripted_server(0, 1, "empty") as server:
        asyncio.run(ask(server))


@KINDS
@pytest.mark.parametrize("answers, retries, asked", [((0,), 2, 3), ((0,), 0, 1), ((60,), 2, 1), (("gone",), 1, 2)])
def test_attempts_are_few_and_end_in_time(kind: str, answers: tuple[int | str, ...], retries: int, asked: int) -> None:
    async def ask(server: Scripted) -> None:
        async with either(kind, server.url, timeout=5, retries=retries) as store:
            with pytest.raises(NotReady) as error:
                await store.views()
            assert type(error.value) is (NotReady if answers == ("gone",) else Busy)
        assert server.asked == asked

    with open_scripted_server(*answers) as server:
        asyncio.run(ask(server))


@KINDS
def test_a_connection_that_ended_meanwhile_is_replaced(kind: str) -> None:
    async def ask(server: Scripted) -> None:
        async with either(kind, server.url) as store:
            for _ in range(5):
                assert await store.views() == []
        assert server.asked == 6
        assert len(server.connections) == 2

    with open_scripted_server("empty", "empty", "gone", "empty") as server:
        asyncio.run(ask(server))


@KINDS
def test_what_changes_something_is_sent_once(kind: str) -> None:
    async def ask(server: Scripted) -> None:
        async with either(kind, server.url) as store:
            with pytest.raises(Busy):
                await store.apply([])
        assert server.asked == 1

    with open_scripted_server(0) as server:
        asyncio.run(ask(server))


@KINDS
def test_a_closed_client_says_so(kind: str) -> None:
    async def ask(server: Scripted) -> None:
        async with either(kind, server.url) as store:
            assert await store.views() == []
        with pytest.raises(RequestError, match="is closed; connect again"):
            await store.views()

    with open_scripted_server("empty") as server:
        asyncio.run(ask(server))


def test_a_silent_server_is_given_up_in_time() -> None:
    async def ask(server: Scripted) -> None:
        async with connect_async(server.url, timeout=0.3) as store:
            began = time.monotonic()
            with pytest.raises(NotReady, match="did not answer in"):
                await store.views()
            assert time.monotonic() - began < 10
        assert server.asked == 1

    with open_scripted_server("silent") as server:
        asyncio.run(ask(server))


@pytest.mark.parametrize("arguments", [{"url": "host:8080"}, {"token": "ä"}, {"timeout": 0}, {"retries": -1}, {"retries": 1.5}])
def test_wrong_arguments_are_named(arguments: dict[str, Any]) -> None:
    name = next(iter(arguments))
    with pytest.raises(RequestError, match=name):
        connect_async(**{"url": "http://127.0.0.1:1", **arguments})
    with pytest.raises(RequestError, match=name):
        connect(**{"url": "http://127.0.0.1:1", **arguments})
