"""The address of a Redis store, and the names of the keys of a store with this address."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from featurestore.errors import RequestError
from featurestore.redaction import location_of

DEFAULT_PREFIX = "featurestore"
FORM = "write redis://user:password@host:port/db, with each of @ / : % # ? in user and password percent-encoded: %40 for @"
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 1.0
"""How long connecting and each answer may take."""
SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""Schemes of addresses of Sentinels, each with the scheme of the servers."""
CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Schemes of addresses of a Redis Cluster, each with the scheme of its nodes."""


@dataclass(frozen=True)
class RedisNames:
    """The names of a store's keys, which begin with its prefix.

    In a Redis Cluster they have tags: all keys but rows share one slot, and so do the rows of one key in all tables.
    """

    prefix: str
    clustered: bool = False

    @cached_property
    def base(self) -> bytes:
        """The beginning of all names but those of rows in a cluster."""
        return b"{%b}:" % self._quoted_prefix if self.clustered else self._quoted_prefix + b":"

    @cached_property
    def row_end(self) -> bytes:
        """The end of the names of rows."""
        return b"}" if self.clustered else b""

    @cached_property
    def _quoted_prefix(self) -> bytes:
        # A quoted prefix has no colon, so no two prefixes share a key, no brace, and no character that SCAN takes for a pattern.
        return quote(self.prefix, safe="").encode()

    def key(self, letter: bytes, table: str | None = None) -> bytes:
        """A key name. Of the store: g generation, i identity, n counter, f right to fill. Of a table: t header, l lease, p sequences of
        interrupted publishes, d obsolete row ids, s sample of its rows' keys. `rows_prefix` names rows.
        """
        return self.base + letter + (b"" if table is None else b":" + table.encode())

    def rows_prefix(self, number: int) -> bytes:
        """The beginning of the names of rows with this id; the encoded key and `row_end` follow."""
        # An encoded key never begins with a brace, so no tag is empty. If it contains one, the tag ends there, for all tables alike.
        return b"%b:r:%d:" % (self._quoted_prefix, number) + (b"{" if self.clustered else b"")

    def rows(self, number: int, keys: Sequence[bytes]) -> list[bytes]:
        """The names of the rows with this id of encoded keys."""
        prefix, end = self.rows_prefix(number), self.row_end
        return [prefix + key + end for key in keys] if end else [prefix + key for key in keys]

    def keys_of(self, number: int, rows: Sequence[bytes]) -> list[bytes]:
        """The encoded keys in the names of rows with this id."""
        start, end = len(self.rows_prefix(number)), len(self.row_end)
        return [name[start : len(name) - end] for name in rows]


@dataclass(frozen=True)
class RedisAddress:
    """An address without the store's own options, the scheme of the address, the store's names, and the address to show in errors."""

    url: str
    scheme: str
    names: RedisNames
    location: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises: RequestError for an empty prefix."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = options.pop("prefix", DEFAULT_PREFIX)
        if not prefix:
            raise RequestError("the prefix of the online store is empty; leave it out or write ?prefix=name")
        address = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(options), ""))
        return cls(address, parts.scheme, RedisNames(prefix, parts.scheme in CLUSTER_SCHEMES), location_of(url))

    def wrong(self) -> RequestError:
        """The error of an address that redis-py refuses."""
        form = FORM.replace(
            "redis://user:password@host:port/db", "redis+cluster://user:password@host:port,host:port, which has no database"
        )
        return RequestError(f"the address {self.location} of the online store is wrong; {form if self.names.clustered else FORM}")
