"""A work without rows, by which workers tell their versions."""

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from featurestore.distribution.factory import open_distributor
from featurestore.distribution.work import Piece
from featurestore.errors import Timeout

BUCKETS = 4
"""A cluster with several workers gives them to different ones, if it likes."""


@dataclass(frozen=True)
class Versions:
    """The versions of what computes, on the driver or a worker: rows have the same bits where they are equal."""

    featurestore: str
    duckdb: str
    python: str

    def __str__(self) -> str:
        return f"featurestore {self.featurestore}, DuckDB {self.duckdb}, Python {self.python}"


class Probe:
    """See Work: its result is the worker's versions."""

    def spread(self, part: Any) -> Iterator[Piece]:
        for bucket in range(BUCKETS):
            yield Piece(bucket, "probe", b"")

    def compute(self, bucket: int, pieces: Any) -> Versions:
        for _ in pieces:
            pass
        return versions()


def versions() -> Versions:
    """The versions of this process. Python's is that without its last number: pickled work has the same form within one."""
    return Versions(version("featurestore"), version("duckdb"), ".".join(platform.python_version_tuple()[:2]))


def ask_workers(address: str, seconds: float) -> set[Versions]:
    """The versions of workers at the address of the setting `engine`.

    Raises: MissingExtra; NotReady if they cannot be reached; Timeout if none has answered after so many seconds.
    """
    started = time.monotonic()

    def check() -> None:
        if time.monotonic() - started > seconds:
            raise Timeout(f"no worker of {distributor.address} has answered within {seconds:g} seconds; look at its log, or start some")

    distributor = open_distributor(address)
    try:
        return {told for _, told in distributor.run(Probe(), [None], BUCKETS, check)}
    finally:
        distributor.close()
