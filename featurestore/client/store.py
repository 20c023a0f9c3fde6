"""`RemoteStore`: the methods of a feature store behind a server, with the arguments, results and errors of a local one."""

from collections.abc import Callable
from functools import update_wrapper
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from featurestore.client.connection import Connection
from featurestore.client.retries import Retries
from featurestore.client.steps import Exchange
from featurestore.client.transport import Transport
from featurestore.client.verbs import ServerVerbs

P = ParamSpec("P")
T = TypeVar("T")
RETRIES = 2


def connect(url: str, token: str | None = None, timeout: float = 30.0, retries: int = RETRIES) -> "RemoteStore":
    """The store behind a server, such as `http://host:8080`. Nothing is sent yet.

    `timeout` is the time limit of a response in seconds; jobs of the server may take longer. Requests that change nothing are sent up to
    `retries` more times within it if the server cannot be reached, or answers 503 with Retry-After.
    """
    return RemoteStore(Transport(Connection(url, token, timeout, Retries(retries))))


def _blocking(verb: Callable[Concatenate[ServerVerbs, P], Exchange[T]]) -> "Callable[Concatenate[RemoteStore, P], T]":
    """The method that runs an exchange in its caller's thread."""

    def call(self: "RemoteStore", /, *arguments: P.args, **named: P.kwargs) -> T:
        return self._transport.run(verb(self._verbs, *arguments, **named))

    update_wrapper(call, verb)
    return call


class RemoteStore:
    """A feature store behind a server. `FeatureStore` documents the methods that both have. Thread-safe."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._verbs = transport, ServerVerbs(transport)

    plan = _blocking(ServerVerbs.plan)
    apply = _blocking(ServerVerbs.apply)
    materialize = _blocking(ServerVerbs.materialize)
    publish = _blocking(ServerVerbs.publish)
    verify_online = _blocking(ServerVerbs.verify_online)
    remove_version = _blocking(ServerVerbs.remove_version)
    remove_view = _blocking(ServerVerbs.remove_view)
    remove_service = _blocking(ServerVerbs.remove_service)
    maintain = _blocking(ServerVerbs.maintain)
    repair = _blocking(ServerVerbs.repair)
    create_table = _blocking(ServerVerbs.create_table)
    write_table = _blocking(ServerVerbs.write_table)
    push = _blocking(ServerVerbs.push)
    write = _blocking(ServerVerbs.write)
    history = _blocking(ServerVerbs.history)
    create_training_set = _blocking(ServerVerbs.create_training_set)
    training_set = _blocking(ServerVerbs.training_set)
    cancel = _blocking(ServerVerbs.cancel)
    get_training_set = _blocking(ServerVerbs.get_training_set)
    rebuild = _blocking(ServerVerbs.rebuild)
    compare = _blocking(ServerVerbs.compare)
    point_in_time = _blocking(ServerVerbs.point_in_time)
    online_features = _blocking(ServerVerbs.online_features)
    predict = _blocking(ServerVerbs.predict)
    score = _blocking(ServerVerbs.score)
    parts = _blocking(ServerVerbs.parts)
    entities = _blocking(ServerVerbs.entities)
    sources = _blocking(ServerVerbs.sources)
    views = _blocking(ServerVerbs.views)
    view = _blocking(ServerVerbs.view)
    services = _blocking(ServerVerbs.services)
    service = _blocking(ServerVerbs.service)
    training_sets = _blocking(ServerVerbs.training_sets)
    models = _blocking(ServerVerbs.models)
    impact = _blocking(ServerVerbs.impact)
    lineage = _blocking(ServerVerbs.lineage)
    remove_training_set = _blocking(ServerVerbs.remove_training_set)
    erase = _blocking(ServerVerbs.erase)
    erasures = _blocking(ServerVerbs.erasures)
    tag = _blocking(ServerVerbs.tag)
    tags = _blocking(ServerVerbs.tags)
    remove_tag = _blocking(ServerVerbs.remove_tag)
    explain_retention = _blocking(ServerVerbs.explain_retention)
    replay = _blocking(ServerVerbs.replay)
    traffic = _blocking(ServerVerbs.traffic)
    set_traffic = _blocking(ServerVerbs.set_traffic)
    compare_traffic = _blocking(ServerVerbs.compare_traffic)
    audit = _blocking(ServerVerbs.audit)
    promote = _blocking(ServerVerbs.promote)
    demote = _blocking(ServerVerbs.demote)
    rollback = _blocking(ServerVerbs.rollback)
    archive = _blocking(ServerVerbs.archive)
    audit_log = _blocking(ServerVerbs.audit_log)
    audit_log_heads = _blocking(ServerVerbs.audit_log_heads)
    verify_audit_log = _blocking(ServerVerbs.verify_audit_log)
    create_key = _blocking(ServerVerbs.create_key)
    keys = _blocking(ServerVerbs.keys)
    grant = _blocking(ServerVerbs.grant)
    revoke = _blocking(ServerVerbs.revoke)
    grants = _blocking(ServerVerbs.grants)
    policies = _blocking(ServerVerbs.policies)
    revoke_key = _blocking(ServerVerbs.revoke_key)
    create_share = _blocking(ServerVerbs.create_share)
    remove_share = _blocking(ServerVerbs.remove_share)
    add_to_share = _blocking(ServerVerbs.add_to_share)
    remove_from_share = _blocking(ServerVerbs.remove_from_share)
    shares = _blocking(ServerVerbs.shares)
    create_recipient = _blocking(ServerVerbs.create_recipient)
    change_recipient = _blocking(ServerVerbs.change_recipient)
    rotate_recipient = _blocking(ServerVerbs.rotate_recipient)
    revoke_recipient = _blocking(ServerVerbs.revoke_recipient)
    recipients = _blocking(ServerVerbs.recipients)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
