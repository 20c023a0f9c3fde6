"""Work that can be divided by keys: workers spread rows over buckets, and compute one bucket after another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, repr=False)
class Piece:
    """Rows of one bucket as bytes, in a form that the work chooses; `kind` says what they are."""

    bucket: int
    kind: str
    data: bytes


class Work(Protocol):
    """What workers do. A value that can be pickled: a worker has the same release of featurestore, and nothing of the driver's."""

    def spread(self, part: Any) -> Iterator[Piece]:
        """Read one part of the input, and yield its rows by bucket. May run several times for one part."""

    def compute(self, bucket: int, pieces: Iterable[Piece]) -> Any:
        """The result of one bucket, from the pieces of all parts, in any order. May run several times, also at the same time."""


class Distributor(Protocol):
    """Runs work on several processes or machines."""

    @property
    def address(self) -> str:
        """The setting that it was opened for."""

    def run(self, work: Work, parts: Sequence[Any], buckets: int, check: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """Yield each bucket with its result as soon as it is known, in any order; a bucket without pieces has none.

        `check` is called every now and then, and raises to cancel what has not run. Raises: the FeatureStoreError that a worker raised;
        NotReady if the workers cannot be reached; OutOfResources if they die again and again.
        """

    def close(self) -> None:
        """Let go of the workers, and end those that were started for it."""
