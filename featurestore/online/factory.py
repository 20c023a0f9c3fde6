"""Open the online store at an address."""

from featurestore.errors import RequestError
from featurestore.online.store import AsyncReader, OnlineStore

SCHEMES = ("lmdb", "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def open_online(url: str, *, readonly: bool = False, allow_eviction: bool = False) -> OnlineStore:
    """The store at `lmdb://path`, `redis://host:port/db`, `rediss://...`, `unix://socket`, `redis+sentinel://host,host/service/db` or
    `redis+cluster://host,host`; Redis takes `?prefix=`.

    An LMDB store that does not exist is created; with `readonly` it is empty until another process creates it.

    Raises: RequestError for another scheme; NotReady if it cannot be reached, or is a Redis that evicts rows and `allow_eviction` is
    False.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        # Text that is not an address may be a password meant for another setting, so it is not shown.
        problem = f"address {scheme}://... has an unknown scheme" if separator else "setting is not an address"
        raise RequestError(f"the online store's {problem}; use lmdb://path or redis://host:port/db")
    # Imported here, so that a process loads only the library that it uses.
    if scheme == "lmdb":
        from featurestore.online.lmdb.store import LmdbStore  # noqa: PLC0415

        return LmdbStore(rest, readonly=readonly)
    from featurestore.online.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(url, readonly=readonly, allow_eviction=allow_eviction)


def open_async_reader(url: str) -> AsyncReader | None:
    """A reader of the store at an address over the network; it reads the address and connects when it is first used.

    None for a store on this machine, whose reads take less time than a switch of tasks.
    """
    if url.startswith("lmdb://"):
        return None
    from featurestore.online.redis.async_reader import RedisAsyncReader  # noqa: PLC0415

    return RedisAsyncReader(url)
