"""The objects of one S3 bucket: each is read, written or deleted by as few requests as there are, all of them retried within a bound."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

import obstore
import pyarrow as pa
import pyarrow.fs as pafs
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from featurestore.lakehouse.local_io import pyarrow_io
from featurestore.lakehouse.object_errors import ObjectError, ObjectMissing, ObjectRefused
from featurestore.lakehouse.object_upload import Upload

CONNECT_SECONDS, ATTEMPT_SECONDS, RETRY_SECONDS, ATTEMPTS = 5.0, 60.0, 60.0, 6
"""Defaults: the longest wait for a connection and for one attempt with all of its bytes; how long after the first attempt another may
begin, and how many there are."""
SILENT_SECONDS = 15.0
"""An attempt ends when nothing has come for so long, whatever it may take in all."""
BETWEEN_BYTES = 1 << 20
"""Ranges of one object that are closer than this are read by one request: its latency costs more than these bytes."""
CONCURRENT = 8
"""How many ranges of one object are read at the same time by pyarrow."""
_UNSUPPORTED = ("s3.role-arn", "client.role-arn", "s3.signer", "s3.retry-strategy-impl", "s3.resolve-region")
"""Properties of pyiceberg's that only pyarrow's file system has."""
_KEYS = ("access-key-id", "secret-access-key", "session-token", "region")
_RELEVANT = ("s3.", "client.")
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")

Range = tuple[int, int]
"""The first byte, and that after the last."""


class Bucket:
    """May be used from several threads. Raises: ObjectError for what does not succeed within the bound."""

    def __init__(self, name: str, endpoint: str, store: S3Store, arrow: Callable[[], pafs.FileSystem]) -> None:
        """`arrow` opens pyarrow's file system with the same access."""
        self.name, self.endpoint, self._store, self._arrow = name, endpoint, store, arrow
        self._has_ranges = True

    def read(self, key: str) -> pa.Buffer:
        """A whole object, by one request. Raises: ObjectMissing."""
        with self._told("reading", key):
            return pa.py_buffer(obstore.get(self._store, key).bytes())

    def read_ranges(self, key: str, ranges: Sequence[Range]) -> list[pa.Buffer]:
        """Parts of an object, concurrently; those that are close to one another by one request. Raises: ObjectMissing."""
        with self._told("reading", key):
            buffers = self._ranges(key, ranges) if self._has_ranges else self._ranges_by_arrow(key, ranges)
        if any(part.size != end - start for part, (start, end) in zip(buffers, ranges, strict=True)):
            raise ObjectError("reading", f"s3://{self.name}/{key}", "it is shorter than the table's metadata say")
        return buffers

    def _ranges(self, key: str, ranges: Sequence[Range]) -> list[pa.Buffer]:
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        try:
            parts = obstore.get_ranges(self._store, key, starts=starts, ends=ends, coalesce=BETWEEN_BYTES)
        except GenericError as error:
            # rclone sends the range with the status of a whole object, which obstore refuses and pyarrow accepts.
            if "non-partial response" not in str(error):
                raise
            self._has_ranges = False
            return self._ranges_by_arrow(key, ranges)
        return [pa.py_buffer(part) for part in parts]

    def _ranges_by_arrow(self, key: str, ranges: Sequence[Range]) -> list[pa.Buffer]:
        path = f"{self.name}/{key}"
        with self._arrow().open_input_file(path) as file, ThreadPoolExecutor(min(CONCURRENT, len(ranges))) as threads:
            return [pa.py_buffer(part) for part in threads.map(lambda part: file.read_at(part[1] - part[0], part[0]), ranges)]

    def size(self, key: str) -> int:
        """The size of an object in bytes. Raises: ObjectMissing."""
        with self._told("looking at", key):
            size: int = obstore.head(self._store, key)["size"]
        return size

    def write(self, key: str, content: bytes | bytearray) -> None:
        """Write a whole object, by one request."""
        with self._told("writing", key):
            obstore.put(self._store, key, bytes(content), use_multipart=False)

    def upload(self, key: str, part_bytes: int) -> Upload:
        """Begin to write an object in parts of so many bytes."""
        return Upload(self._store, key, part_bytes, lambda: self._told("writing", key))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, a thousand by one request; those that do not exist are none."""
        with self._told("deleting", keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} others"):
            obstore.delete(self._store, list(keys))

    @contextmanager
    def _told(self, doing: str, key: str) -> Iterator[None]:
        address = f"s3://{self.name}/{key}"
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise ObjectError(doing, address, "NoSuchBucket") from error
            raise ObjectMissing(doing, address, "NoSuchKey") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise ObjectRefused(doing, address, _reason(error)) from error
        except (BaseError, OSError) as error:
            raise ObjectError(doing, address, _reason(error)) from error


def find_bucket(name: str, properties: Mapping[str, Any]) -> Bucket | None:
    """The bucket with the access that a table's properties give; None if only pyarrow's file system can have it."""
    if _FORKED or not _supported(properties):
        return None
    relevant = tuple(sorted((key, str(value)) for key, value in properties.items() if key.startswith(_RELEVANT) and value is not None))
    return _open(name, relevant)


@lru_cache(maxsize=64)
def _open(name: str, relevant: tuple[tuple[str, str], ...]) -> Bucket:
    # One for all tables with the same access: they share its connections.
    properties = dict(relevant)
    endpoint = properties.get("s3.endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    config: dict[str, Any] = {
        short.replace("-", "_"): value for short in _KEYS if (value := properties.get(f"s3.{short}") or properties.get(f"client.{short}"))
    }
    if endpoint:
        config["endpoint"] = endpoint
    if properties.get("s3.anonymous", "").lower() == "true":
        config["skip_signature"] = True
    attempt = _seconds(properties, "s3.request-timeout", ATTEMPT_SECONDS)
    client: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_seconds(properties, "s3.connect-timeout", CONNECT_SECONDS)),
        "timeout": timedelta(seconds=attempt),
        "read_timeout": timedelta(seconds=min(SILENT_SECONDS, attempt)),
    }
    if proxy := properties.get("s3.proxy-uri"):
        client["proxy_url"] = proxy
    retry: dict[str, Any] = {
        "max_retries": ATTEMPTS - 1,
        "retry_timeout": timedelta(seconds=_seconds(properties, "s3.retry-timeout", RETRY_SECONDS)),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
    }
    region = config.pop("region", None) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    made = S3Store(name, region=region, client_options=cast(Any, client), retry_config=cast(Any, retry), **config)
    return Bucket(name, endpoint, made, cache(lambda: pyarrow_io().PyArrowFileIO(properties).fs_by_scheme("s3", name)))


def _seconds(properties: Mapping[str, str], name: str, default: float) -> float:
    return float(properties.get(name) or default)


def _supported(properties: Mapping[str, Any]) -> bool:
    if any(properties.get(name) for name in _UNSUPPORTED):
        return False
    if properties.get("s3.force-virtual-addressing") is not None:
        return False
    has_region = (
        any(properties.get(f"{kind}region") for kind in _RELEVANT) or "AWS_REGION" in os.environ or "AWS_DEFAULT_REGION" in os.environ
    )
    if not has_region and not properties.get("s3.endpoint"):
        return False
    if any(properties.get(f"{kind}access-key-id") for kind in _RELEVANT) or str(properties.get("s3.anonymous", "")).lower() == "true":
        return True
    return "AWS_ACCESS_KEY_ID" in os.environ or not _has_profiles()


def _has_profiles() -> bool:
    """Whether credentials may be those of a profile in a file, which obstore does not read."""
    folder = Path.home() / ".aws"
    named = ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    return any(name in os.environ for name in named) or (folder / "credentials").exists() or (folder / "config").exists()


def _reason(error: Exception) -> str:
    """S3's code of an error, or else what the client says, in one line."""
    text = str(error).partition("\n\nDebug source")[0]
    code = _CODE.search(text)
    return code[1] if code else " ".join(text.split())[:300]


_FORKED: list[bool] = []
"""Not empty in a process that was forked from one that has used a bucket: its threads are not there."""
os.register_at_fork(after_in_child=lambda: _FORKED.append(True) if _open.cache_info().currsize else None)
