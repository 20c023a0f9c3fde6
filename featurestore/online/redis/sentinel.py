"""Connect to the Redis master that Sentinels name, and to the new master after a failover."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.connection import parse_url
from redis.sentinel import Sentinel

from featurestore.online.redis.address import SENTINEL_SCHEMES

PORT = 26379


def connect_by_sentinel(address: str, sentinel_class: Any = Sentinel, **options: Any) -> Any:
    """A client, of the kind of the class of Sentinels, of the master of `redis+sentinel://user:password@host:port,host:port/service/db?option=value`.

    User, password and options are for the servers; the options `sentinel_username` and `sentinel_password` are for the Sentinels. The
    scheme's TLS is used for both. Raises: ValueError for a wrong address.
    """
    parts = urlsplit(address)
    user, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not all(host.partition(":")[0] for host in hosts.split(",")):
        raise ValueError("an address of Sentinels has hosts and the name of a service")
    # redis-py reads the other parts only from a whole address, so a placeholder stands for the host.
    scheme, at = SENTINEL_SCHEMES[parts.scheme], f"{user}@" if user else ""
    parsed: dict[str, Any] = dict(parse_url(f"{scheme}://{at}sentinel/{database}?{parts.query}"))  # type: ignore[no-untyped-call]
    of_sentinels = {
        name.removeprefix("sentinel_"): parsed.pop(name) for name in ("sentinel_username", "sentinel_password") if name in parsed
    }
    connection_class = parsed.pop("connection_class", None)
    parsed = {name: value for name, value in parsed.items() if name not in ("host", "port")}
    tls = {"ssl": True, **{name: value for name, value in parsed.items() if name.startswith("ssl_")}} if connection_class else {}
    times = {name: options[name] for name in ("socket_connect_timeout", "socket_timeout")}
    sentinels = sentinel_class([_place(host) for host in hosts.split(",")], sentinel_kwargs={**times, **tls, **of_sentinels})
    return sentinels.master_for(unquote(service), **{**options, **parsed, **tls})


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or PORT)
