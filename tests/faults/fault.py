"""Faults to inject: which, and at which request."""

from collections.abc import Collection
from dataclasses import dataclass, field

CHANGES = {"UPDATE iceberg_tables": "commit", "INSERT INTO iceberg_tables": "create", "DELETE FROM iceberg_tables": "drop"}
"""What a catalog in a database does for each kind of request."""


@dataclass(frozen=True)
class Failure:
    """`what`: an HTTP status, "cut", "slow", "garbage" or "interrupt"; `moment`: "before", "inside" or "after" the commit."""

    what: int | str
    moment: str


@dataclass
class Fault:
    """Strikes `times` of the requests of these kinds, of which the first `skip` pass and then each but every `every`th.

    `struck` counts them.
    """

    failure: Failure | None = None
    kinds: Collection[str] = ("commit",)
    times: int = 1
    skip: int = 0
    every: int = 1
    struck: int = 0
    seen: int = field(default=0)

    def strikes(self, kind: str) -> Failure | None:
        """The failure of this request; None if it passes."""
        if self.failure is None or kind not in self.kinds:
            return None
        self.seen += 1
        if self.seen <= self.skip or self.struck >= self.times or (self.seen - self.skip - 1) % self.every:
            return None
        self.struck += 1
        return self.failure
