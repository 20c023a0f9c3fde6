"""Connect to the Redis that Sentinels say is the master, and to the next one after a failover."""

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.connection import parse_url
from redis.sentinel import Sentinel

SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""Schemes of addresses that list Sentinels, by the scheme of the servers themselves."""
PORT = 26379


def connect_by_sentinel(address: str, **options: Any) -> redis.Redis:
    """A client of the master of `redis+sentinel://user:password@host:port,host:port/service/db?option=value`.

    User, password and options are those of the servers; `sentinel_username` and `sentinel_password` among the options, and TLS, are
    those of the Sentinels. Raises: ValueError for a wrong address.
    """
    parts = urlsplit(address)
    user, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not all(host.partition(":")[0] for host in hosts.split(",")):
        raise ValueError("an address of Sentinels has hosts and the name of a service")
    # The host only makes the rest an address that redis-py reads.
    scheme, at = SENTINEL_SCHEMES[parts.scheme], f"{user}@" if user else ""
    given: dict[str, Any] = dict(parse_url(f"{scheme}://{at}sentinel/{database}?{parts.query}"))  # type: ignore[no-untyped-call]
    of_sentinels = {name.removeprefix("sentinel_"): given.pop(name) for name in ("sentinel_username", "sentinel_password") if name in given}
    connection_class = given.pop("connection_class", None)
    given = {name: value for name, value in given.items() if name not in ("host", "port")}
    tls = {"ssl": True, **{name: value for name, value in given.items() if name.startswith("ssl_")}} if connection_class else {}
    times = {name: options[name] for name in ("socket_connect_timeout", "socket_timeout")}
    sentinels = Sentinel([_place(host) for host in hosts.split(",")], sentinel_kwargs={**times, **tls, **of_sentinels})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(unquote(service), **{**options, **given, **tls})  # type: ignore[no-untyped-call]
    return client


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or PORT)
