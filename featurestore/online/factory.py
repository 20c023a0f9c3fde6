"""Opening the online store that an address names."""

from featurestore.errors import RequestError
from featurestore.online.store import OnlineStore

SCHEMES = ("lmdb", "redis", "rediss", "unix")


def open_online(url: str, *, readonly: bool = False, allow_eviction: bool = False) -> OnlineStore:
    """The store at `lmdb://path`, `redis://host:port/db`, `rediss://...` or `unix://socket`; Redis takes `?prefix=`.

    An LMDB store that does not exist yet is made, or with `readonly` reads as empty until another process makes it.

    Raises: RequestError for another scheme, NotReady when it cannot be reached, or is a Redis that evicts rows and `allow_eviction` is
    not set.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        # What is no address may be a password that was meant for another setting.
        said = f"{scheme}://... is of no known kind" if separator else "is given by no address"
        raise RequestError(f"the online store {said}; use lmdb://path or redis://host:port/db")
    # Here and not above: a process loads only the vendor that it uses.
    if scheme == "lmdb":
        from featurestore.online.lmdb import LmdbStore  # noqa: PLC0415

        return LmdbStore(rest, readonly=readonly)
    from featurestore.online.redis import RedisStore  # noqa: PLC0415

    return RedisStore(url, readonly=readonly, allow_eviction=allow_eviction)
