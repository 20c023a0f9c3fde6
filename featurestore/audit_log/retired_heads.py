"""Heads of chains whose home folders are gone: they move from the table's properties, which every commit rewrites, into an entry."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from featurestore.audit_log.entry import open_line
from featurestore.audit_log.log import RETIRED, AuditLog
from featurestore.audit_log.table import HEAD, Head, heads_in, times_of_heads
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.settings import Settings
from featurestore.values import times

MOST_HEADS = 200
"""Heads in the table's properties from which the oldest are retired."""
AGE = timedelta(days=7)
"""Age of the last entry of a chain from which its head may be retired."""
MOST_RETIRED = 1000
"""Heads of one entry."""
ANY = "featurestore.audit-heads-retired"
"""The property that says that the table may have chains whose heads are not in its properties."""


def heads_to_retire(properties: Mapping[str, str], own: Collection[str]) -> dict[str, Head]:
    """The heads to retire, the oldest first; `own` are chains of this home folder, which stay. Empty while there are few."""
    heads, written = heads_in(properties), times_of_heads(properties)
    before = times.now() - AGE // timedelta(microseconds=1)
    oldest = sorted((chain for chain in heads if chain not in own and written[chain] < before), key=lambda chain: written[chain])
    return {chain: heads[chain] for chain in oldest[: min(max(len(heads) - MOST_HEADS, 0), MOST_RETIRED)]}


def record_retired(settings: Settings, heads: Mapping[str, Head]) -> tuple[str, int]:
    """Record heads in an entry, whose removal is found as any other one; its chain and its number."""
    log = AuditLog(settings)
    try:
        return log.record_heads(RETIRED, heads)
    finally:
        log.close()


def remove_retired(table: Table, heads: Mapping[str, Head]) -> None:
    """Remove heads from the table's properties. Raises: CommitConflict if another process changed them."""
    tables.set_properties(table, {ANY: "true"}, [HEAD + chain for chain in heads])


def last_row(table: Granted, chain: str) -> Head | None:
    """The last entry of a chain in the table; None if it has none. For chains whose heads may have been retired."""
    rows = scans.read_equal(table, "chain", chain, columns=("number", "line")).to_pylist()
    if not rows:
        return None
    line = open_line(str(max(rows, key=lambda row: int(row["number"]))["line"]).encode())
    return Head(line.entry.number, line.hash)
