"""Errors of Redis, as errors of this package."""

import contextlib
import struct
from collections.abc import Iterator

import msgspec
import orjson
from redis.exceptions import OutOfMemoryError, RedisClusterException, RedisError

from featurestore.errors import NotReady, OutOfResources
from featurestore.online.redis.address import RedisNames


@contextlib.contextmanager
def redis_errors(address: str, names: RedisNames) -> Iterator[None]:
    """Raise errors of the block as NotReady or OutOfResources."""
    try:
        yield
    except OutOfMemoryError as error:
        raise OutOfResources(f"Redis at {address} is out of memory: {error}; nothing was published") from error
    except (msgspec.MsgspecError, orjson.JSONDecodeError, struct.error) as error:
        message = f"Redis at {address} has invalid data under {names.base.decode()}* ({error})"
        raise NotReady(f"{message}; run featurestore publish --full to replace it", address=address) from error
    except (RedisError, RedisClusterException) as error:
        message = f"Redis at {address} does not respond ({error}); check that it is running, the setting `online`, and the password"
        raise NotReady(message, address=address) from error
