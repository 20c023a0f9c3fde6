"""The claims of leases: properties of a table without rows, one for each process that works on a table, or wants to.

Whoever wants a lease adds a claim, and looks at the state that the commit answers with: it has every claim that landed before. If it has
no other of the same table, the lease is taken; otherwise the claim is withdrawn. So the first commit wins in any catalog, also in one
that, as REST, compares no properties.
"""

import json
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields

from featurestore.lakehouse.table import Table
from featurestore.values import times
from featurestore.values.process_identity import ProcessIdentity, this_process

PREFIX = "featurestore.lease."
"""The prefix of the properties; the rest is the table's name and the claim's id."""
LEASE_SECONDS = 30.0
"""How long others wait for a claim that is not renewed. A process that is gone and can be looked for is not waited for."""


@dataclass(frozen=True)
class Claim:
    """The claim of a process; the names of the fields are stored.

    `at` is when it was made by its machine's clock, for people only. It lapses when an observer has seen it unchanged for `seconds`:
    clocks of two machines are never compared. `beat` changes with each renewal.
    """

    host: str
    pid: int
    boot: str | None
    started: str | None
    at: str
    seconds: float
    beat: int = 0

    def to_property(self) -> str:
        """The claim as the value of a table property."""
        return json.dumps(self.__dict__)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.at[:19]}Z"


def make_claim() -> Claim:
    """A claim of this process."""
    own = this_process()
    return Claim(own.host, own.pid, own.boot, own.started, str(times.text(times.now())), LEASE_SECONDS)


def make_key(table: str) -> str:
    """The name of a new claim's property."""
    return f"{PREFIX}{table}.{uuid.uuid4().hex}"


def claims_of(table: str, properties: Mapping[str, str]) -> dict[str, str]:
    """The claims of a table's lease among the properties of the table of leases, by name."""
    return {key: value for key, value in properties.items() if key.startswith(PREFIX) and key[len(PREFIX) :].rpartition(".")[0] == table}


def load_claim(value: str) -> Claim:
    """The claim in a property. Fields of newer releases are left out."""
    known = {field.name for field in fields(Claim)}
    return Claim(**{name: each for name, each in json.loads(value).items() if name in known})


class SeenClaims:
    """The claims that this process has seen, and when each changed last, by its own monotonic clock. May be used from several threads."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._table: Table | None = None

    def lapsed(self, key: str, value: str) -> bool:
        """Whether a claim is not waited for any more: its process has ended, or it was not renewed for as long as it says."""
        claim = load_claim(value)
        if ProcessIdentity(claim.host, claim.pid, claim.boot, claim.started).has_ended():
            return True
        now = time.monotonic()
        with self._lock:
            seen, since = self._seen.get(key, ("", now))
            if seen != value:
                self._seen[key] = (value, now)
                return False
            return now - since >= claim.seconds

    def forget(self, properties: Mapping[str, str]) -> None:
        """Forget the claims that are gone."""
        with self._lock:
            for key in self._seen.keys() - properties.keys():
                del self._seen[key]

    def pop_table(self) -> Table | None:
        """A handle of the table of leases that nobody else uses, which may show an older state; None if there is none."""
        with self._lock:
            table, self._table = self._table, None
            return table

    def keep_table(self, table: Table) -> None:
        """Keep a handle for the next run."""
        with self._lock:
            self._table = table
