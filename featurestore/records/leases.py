"""Leases of tables: one process at a time computes a table, and others wait for it instead of doing the same work.

Nothing wrong is written without them: each commit compares and swaps, and a run whose lease was taken over is told apart by its commit.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

import pyarrow as pa

from featurestore.errors import CommitUnknown, Conflict, FeatureStoreError, LeaseHeld, NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.property_commits import PropertyChange, change_properties
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.records.lease_claims import LEASE_SECONDS, Claim, claims_of, load_claim, make_claim, make_key
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values.humanize import format_duration

logger = logger_of(__name__)

SCHEMA = pa.schema([("table", pa.string())])
"""The table of leases has no rows and no snapshots: its properties are replaced in one commit."""
RENEWALS = 3
"""How often a claim is renewed within the time after which it lapses."""
FIRST_LOOK_SECONDS = 0.05
"""How long a waiting process waits before it looks again; twice as long each time, up to LOOK_SECONDS."""
LOOK_SECONDS = 2.0

OnWait = Callable[[Claim], None]
"""Called once with the claim that is waited for."""


def leases_table(settings: Settings) -> str:
    """The name of the table of leases in the catalog."""
    return f"{settings.registry_namespace}.leases"


class Leases:
    """The leases that one run takes, one after the other. A context manager that releases them.

    A lease that is not needed any more is released with the next commit to the table of leases: when another one is taken, before another
    process is waited for, or at the end. Without a catalog that takes claims, work goes on without a lease, and that is logged.
    """

    def __init__(self, runtime: Runtime, wait_seconds: float) -> None:
        """`wait_seconds`: for how long to wait for each lease; 0: not at all."""
        self._runtime, self._wait = runtime, wait_seconds
        self._table: Table | None = None
        self._held: dict[str, tuple[str, Claim]] = {}
        self._done: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def hold(self, table: Table, on_wait: OnWait = lambda claim: None) -> bool:
        """Take the lease of a table, unless it is held already. Returns whether the table may have changed since the handle was loaded.

        Raises: as `take`.
        """
        if table.name in self._held:
            return False
        self.take(table.name, on_wait)
        return tables.pointer(self._runtime.catalog, table.name) != table.metadata_location

    def take(self, name: str, on_wait: OnWait = lambda claim: None, *, wait: bool = True) -> None:
        """Take the lease of this name, which is not held. Raises: LeaseHeld naming the process that has it, after the wait if any."""
        try:
            self._take(name, on_wait, self._wait if wait else 0.0)
        except LeaseHeld:
            raise
        except (Conflict, NotReady) as error:
            logger.warning("there is no lease of %s, so that others may do the same work: %s", name, error)
            self._held[name] = ("", make_claim())

    def release(self, table: str) -> None:
        """The lease of this table is not needed any more; nothing if it is not held."""
        with self._lock:
            key, _ = self._held.pop(table, ("", None))
            if key:
                self._done.add(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        for name in list(self._held):
            self.release(name)
        try:
            self._release_done()
        except FeatureStoreError as failure:
            logger.warning("a lease was not released; others wait until it lapses: %s", failure)
        if self._renewing is not None:
            self._renewing.join()
        if self._table is not None and error is None:
            self._runtime.seen_claims.keep_table(self._table)

    def _take(self, name: str, on_wait: OnWait, wait: float) -> None:
        started = time.monotonic()
        pause, told = FIRST_LOOK_SECONDS, False
        while (holder := self._claim(name)) is not None:
            # A lease that others may want is never kept while waiting for another one.
            self._release_done()
            left = wait - (time.monotonic() - started)
            if left <= 0:
                raise _held_by(name, holder, wait)
            if not told:
                logger.info("waiting for the lease of %s: %s has it", name, holder)
                on_wait(holder)
                told = True
            time.sleep(min(left, random.uniform(pause / 2, pause)))
            pause = min(LOOK_SECONDS, 2 * pause)

    def _claim(self, name: str) -> Claim | None:
        """Add a claim if nobody else has one. Returns None if the lease is taken now, else the claim of who has it."""
        key, claim, seen = make_key(name), make_claim(), self._runtime.seen_claims
        holder: Claim | None = None

        def add_claim(properties: Mapping[str, str]) -> PropertyChange | None:
            nonlocal holder
            seen.forget(properties)
            lapsed: list[str] = []
            others: list[str] = []
            for other, value in claims_of(name, properties).items():
                if other not in self._done:
                    (lapsed if seen.lapsed(other, value) else others).append(other)
            holder = load_claim(properties[others[0]]) if others else None
            return None if holder else PropertyChange({key: claim.to_property()}, (*lapsed, *self._done))

        with self._lock:
            table = self._load()
            try:
                if not change_properties(table, add_claim, undone="no lease was taken"):
                    return holder
            except CommitUnknown:
                self._done.add(key)
                raise
            self._done.clear()
            first = [value for other, value in claims_of(name, table.properties).items() if other != key]
            if first:
                # The answer has the claims that landed before: they were not there when this one was made.
                self._done.add(key)
                return load_claim(first[0])
            self._held[name] = (key, claim)
        self._start_renewing()
        return None

    def _release_done(self) -> None:
        with self._lock:
            if self._done:
                change_properties(self._load(), lambda properties: PropertyChange(drop=tuple(self._done)), undone="no lease was released")
                self._done.clear()

    def _start_renewing(self) -> None:
        if self._renewing is None:
            self._renewing = threading.Thread(target=self._renew_forever, name="featurestore-leases", daemon=True)
            self._renewing.start()

    def _renew_forever(self) -> None:
        while not self._ended.wait(LEASE_SECONDS / RENEWALS):
            try:
                with self._lock:
                    self._renew()
            except FeatureStoreError as error:
                logger.warning("leases were not renewed; others may take them over: %s", error)

    def _renew(self) -> None:
        held = {key: replace(claim, beat=claim.beat + 1) for key, claim in self._held.values() if key}
        if not held:
            return

        def renew(properties: Mapping[str, str]) -> PropertyChange:
            return PropertyChange({key: claim.to_property() for key, claim in held.items() if key in properties})

        table = self._load()
        change_properties(table, renew, undone="no lease was renewed")
        for name, (key, _) in list(self._held.items()):
            if key and key not in table.properties:
                logger.warning("another process has taken over the lease of %s; the first of both to commit wins", name)
            self._held[name] = (key if key in table.properties else "", held.get(key, self._held[name][1]))

    def _load(self) -> Table:
        """The newest state of the table of leases. A handle of this process is used again if nobody has changed the table since."""
        name, seen = leases_table(self._runtime.settings), self._runtime.seen_claims
        table = self._table or seen.pop_table()
        if table is None or tables.pointer(self._runtime.catalog, name) != table.metadata_location:
            table = tables.create_if_absent(self._runtime.catalog, name, SCHEMA)
        self._table = table
        return table


def _held_by(name: str, holder: Claim, waited: float) -> LeaseHeld:
    return LeaseHeld(
        f"another process has the lease of {name}: {holder}"
        f"{f'; waited {format_duration(int(waited * 1_000_000))} for it' if waited else ''}. Nothing was done: run again later, or wait"
        " longer",
        table=name,
        holder={"host": holder.host, "pid": holder.pid, "since": holder.at},
    )
