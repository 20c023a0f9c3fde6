"""What runs on a worker: errors of the feature store are returned as values, so that a cluster does not try again what fails again."""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from featurestore.distribution.work import Piece, Work
from featurestore.errors import FeatureStoreError

FAILED = "failed"
"""The kind of a piece that has an error in place of rows."""


@dataclass(frozen=True, repr=False)
class Parcel:
    """Pickled work or a part of its input, without a readable form: clusters log what they pass to functions, and tables have secrets."""

    data: bytes

    def open(self) -> Any:
        """The value."""
        return pickle.loads(self.data)  # noqa: S301 the driver and its workers trust one another: they run its code


def pack(value: Any) -> Parcel:
    """A value as a parcel."""
    return Parcel(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))


def spread(work: Work, part: Any, buckets: int) -> Iterator[Piece]:
    """The pieces of a part. If reading it fails, each bucket gets the error: none of them has all of its rows."""
    try:
        yield from work.spread(part)
    except FeatureStoreError as error:
        for bucket in range(buckets):
            yield Piece(bucket, FAILED, pickle.dumps(error))


def compute(work: Work, bucket: int, pieces: Iterable[Piece]) -> Any:
    """The result of a bucket, or the FeatureStoreError with which it, or reading its pieces, failed."""
    try:
        return work.compute(bucket, _refuse_failed(pieces))
    except FeatureStoreError as error:
        return error


def _refuse_failed(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if piece.kind == FAILED:
            raise pickle.loads(piece.data)  # noqa: S301 see Parcel
        yield piece


def raise_failed(result: Any) -> Any:
    """The result of `compute`. Raises: the error, if it is one."""
    if isinstance(result, FeatureStoreError):
        raise result
    return result
