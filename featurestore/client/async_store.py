"""`AsyncRemoteStore`: the methods of a feature store behind a server, for asyncio."""

from collections.abc import Callable, Coroutine, Generator
from functools import update_wrapper
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from featurestore.client.async_training_set import AsyncTrainingSet
from featurestore.client.async_transport import AsyncTransport
from featurestore.client.connection import Connection
from featurestore.client.retries import Retries
from featurestore.client.steps import Exchange
from featurestore.client.store import RETRIES
from featurestore.client.transport import Transport
from featurestore.client.verbs import ServerVerbs
from featurestore.pipelines.training_sets.training_set import TrainingSet

P = ParamSpec("P")
T = TypeVar("T")


def connect_async(url: str, token: str | None = None, timeout: float = 30.0, retries: int = RETRIES) -> "Connecting":
    """The store behind a server, for asyncio: `store = await connect_async(url)`, or `async with connect_async(url) as store`.

    Nothing is sent yet. `timeout` is the time limit of a response in seconds, with all its attempts; jobs of the server may take longer.
    Requests that change nothing are sent up to `retries` more times within it if the server cannot be reached, or answers 503 with
    Retry-After. Raises: RequestError for a wrong argument.
    """
    return Connecting(Connection(url, token, timeout, Retries(retries)))


class Connecting:
    """A store to be: await it, or use it in `async with`, which closes it at the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store: AsyncRemoteStore | None = None

    def __await__(self) -> "Generator[Any, None, AsyncRemoteStore]":
        return self._open().__await__()

    async def __aenter__(self) -> "AsyncRemoteStore":
        self._store = await self._open()
        return self._store

    async def __aexit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._store is not None:
            await self._store.close()

    async def _open(self) -> "AsyncRemoteStore":
        return AsyncRemoteStore(self._connection)


def _awaitable(
    verb: Callable[Concatenate[ServerVerbs, P], Exchange[T]],
) -> "Callable[Concatenate[AsyncRemoteStore, P], Coroutine[Any, Any, T]]":
    """The method that runs an exchange in its caller's task."""

    async def call(self: "AsyncRemoteStore", /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self._transport.run(verb(self._verbs, *arguments, **named))

    update_wrapper(call, verb)
    return call


def _awaitable_set(
    verb: Callable[Concatenate[ServerVerbs, P], Exchange[TrainingSet]],
) -> "Callable[Concatenate[AsyncRemoteStore, P], Coroutine[Any, Any, AsyncTrainingSet]]":
    """As `_awaitable`, for one whose training set is read with `await`, too."""

    async def call(self: "AsyncRemoteStore", /, *arguments: P.args, **named: P.kwargs) -> AsyncTrainingSet:
        return AsyncTrainingSet(await self._transport.run(verb(self._verbs, *arguments, **named)))

    update_wrapper(call, verb)
    return call


class AsyncRemoteStore:
    """A feature store behind a server, for the tasks of one event loop. Its methods are those of `RemoteStore`, to be awaited.

    Files and frames are read, and rows are decoded, in threads. A task that is cancelled stops waiting; its job continues on the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._transport = AsyncTransport(connection)
        # Reads training sets, in threads: their rows keep a connection and a processor busy for long.
        self._rows = Transport(connection)
        self._verbs = ServerVerbs(self._rows)

    plan = _awaitable(ServerVerbs.plan)
    apply = _awaitable(ServerVerbs.apply)
    materialize = _awaitable(ServerVerbs.materialize)
    publish = _awaitable(ServerVerbs.publish)
    verify_online = _awaitable(ServerVerbs.verify_online)
    remove_version = _awaitable(ServerVerbs.remove_version)
    remove_view = _awaitable(ServerVerbs.remove_view)
    remove_service = _awaitable(ServerVerbs.remove_service)
    maintain = _awaitable(ServerVerbs.maintain)
    repair = _awaitable(ServerVerbs.repair)
    create_table = _awaitable(ServerVerbs.create_table)
    write_table = _awaitable(ServerVerbs.write_table)
    push = _awaitable(ServerVerbs.push)
    write = _awaitable(ServerVerbs.write)
    history = _awaitable(ServerVerbs.history)
    create_training_set = _awaitable_set(ServerVerbs.create_training_set)
    training_set = _awaitable_set(ServerVerbs.training_set)
    cancel = _awaitable(ServerVerbs.cancel)
    get_training_set = _awaitable_set(ServerVerbs.get_training_set)
    rebuild = _awaitable_set(ServerVerbs.rebuild)
    compare = _awaitable(ServerVerbs.compare)
    point_in_time = _awaitable(ServerVerbs.point_in_time)
    online_features = _awaitable(ServerVerbs.online_features)
    predict = _awaitable(ServerVerbs.predict)
    score = _awaitable(ServerVerbs.score)
    parts = _awaitable(ServerVerbs.parts)
    entities = _awaitable(ServerVerbs.entities)
    sources = _awaitable(ServerVerbs.sources)
    views = _awaitable(ServerVerbs.views)
    view = _awaitable(ServerVerbs.view)
    services = _awaitable(ServerVerbs.services)
    service = _awaitable(ServerVerbs.service)
    training_sets = _awaitable(ServerVerbs.training_sets)
    models = _awaitable(ServerVerbs.models)
    impact = _awaitable(ServerVerbs.impact)
    lineage = _awaitable(ServerVerbs.lineage)
    remove_training_set = _awaitable(ServerVerbs.remove_training_set)
    erase = _awaitable(ServerVerbs.erase)
    erasures = _awaitable(ServerVerbs.erasures)
    tag = _awaitable(ServerVerbs.tag)
    tags = _awaitable(ServerVerbs.tags)
    remove_tag = _awaitable(ServerVerbs.remove_tag)
    explain_retention = _awaitable(ServerVerbs.explain_retention)
    replay = _awaitable(ServerVerbs.replay)
    traffic = _awaitable(ServerVerbs.traffic)
    set_traffic = _awaitable(ServerVerbs.set_traffic)
    compare_traffic = _awaitable(ServerVerbs.compare_traffic)
    audit = _awaitable(ServerVerbs.audit)
    promote = _awaitable(ServerVerbs.promote)
    demote = _awaitable(ServerVerbs.demote)
    rollback = _awaitable(ServerVerbs.rollback)
    archive = _awaitable(ServerVerbs.archive)
    audit_log = _awaitable(ServerVerbs.audit_log)
    audit_log_heads = _awaitable(ServerVerbs.audit_log_heads)
    verify_audit_log = _awaitable(ServerVerbs.verify_audit_log)
    create_key = _awaitable(ServerVerbs.create_key)
    keys = _awaitable(ServerVerbs.keys)
    grant = _awaitable(ServerVerbs.grant)
    revoke = _awaitable(ServerVerbs.revoke)
    grants = _awaitable(ServerVerbs.grants)
    policies = _awaitable(ServerVerbs.policies)
    revoke_key = _awaitable(ServerVerbs.revoke_key)
    create_share = _awaitable(ServerVerbs.create_share)
    remove_share = _awaitable(ServerVerbs.remove_share)
    add_to_share = _awaitable(ServerVerbs.add_to_share)
    remove_from_share = _awaitable(ServerVerbs.remove_from_share)
    shares = _awaitable(ServerVerbs.shares)
    create_recipient = _awaitable(ServerVerbs.create_recipient)
    change_recipient = _awaitable(ServerVerbs.change_recipient)
    rotate_recipient = _awaitable(ServerVerbs.rotate_recipient)
    revoke_recipient = _awaitable(ServerVerbs.revoke_recipient)
    recipients = _awaitable(ServerVerbs.recipients)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
        self._rows.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
