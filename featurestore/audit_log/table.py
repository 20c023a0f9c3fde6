"""The Iceberg table of the audit log: a row for each entry, and in its properties the head of each chain."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from featurestore.audit_log.entry import Line
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values import times

HEAD = "featurestore.audit-head."
"""The prefix of properties, and of entries of snapshot summaries, with the head of a chain in the table; the chain's id follows."""
TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("chain", pa.string()),
        ("number", pa.int64()),
        ("time", TIME),
        ("principal", pa.string()),
        ("key", pa.string()),
        ("action", pa.string()),
        ("objects", pa.string()),
        ("scope", pa.string()),
        ("status", pa.int32()),
        ("error", pa.string()),
        ("request_id", pa.string()),
        ("entities", pa.string()),
        ("line", pa.string()),
    ]
)
"""`line` is the entry as it was hashed; the other columns are for queries. `objects` and `entities` are separated by spaces."""


class Head(NamedTuple):
    """The last entry of a chain, or another one that is known from elsewhere."""

    number: int
    hash: str


def audit_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.audit_namespace}.audit"


def open_table(runtime: Runtime) -> Table:
    """The table, which is created if there is none. Raises: NotReady."""
    return tables.create_if_absent(runtime.catalog, audit_table(runtime.settings), SCHEMA)


def find_table(runtime: Runtime) -> Table | None:
    """The table; None if nothing was written to it yet. Raises: NotReady."""
    return tables.find(runtime.catalog, audit_table(runtime.settings))


def heads_in(properties: Mapping[str, str]) -> dict[str, Head]:
    """The heads of chains in table properties or a snapshot's summary."""
    notes = {name.removeprefix(HEAD): json.loads(text) for name, text in properties.items() if name.startswith(HEAD)}
    return {chain: Head(int(note["number"]), str(note["hash"])) for chain, note in notes.items()}


def times_of_heads(properties: Mapping[str, str]) -> dict[str, int]:
    """When the last entry of each of these chains was written, in microseconds since the epoch."""
    return {name.removeprefix(HEAD): int(json.loads(text)["at"]) for name, text in properties.items() if name.startswith(HEAD)}


def head_note(line: Line) -> dict[str, str]:
    """The property with an entry as the head of its chain."""
    return {HEAD + line.entry.chain: json.dumps({"number": line.entry.number, "hash": line.hash, "at": line.entry.time})}


def rows_of(lines: Sequence[Line]) -> pa.Table:
    """The rows of entries."""
    entries = [line.entry for line in lines]
    return pa.table(
        {
            "chain": [entry.chain for entry in entries],
            "number": [entry.number for entry in entries],
            "time": pa.array([entry.time for entry in entries], pa.int64()).cast(TIME),
            "principal": [entry.principal for entry in entries],
            "key": pa.array([entry.key for entry in entries], pa.string()),
            "action": [entry.action for entry in entries],
            "objects": [" ".join(entry.objects) for entry in entries],
            "scope": pa.array([None if entry.scope is None else json.dumps(entry.scope) for entry in entries], pa.string()),
            "status": pa.array([entry.status for entry in entries], pa.int32()),
            "error": pa.array([entry.error for entry in entries], pa.string()),
            "request_id": pa.array([entry.request_id for entry in entries], pa.string()),
            "entities": [" ".join(entry.entities) for entry in entries],
            "line": [line.content.decode() for line in lines],
        },
        schema=SCHEMA,
    )


def same_row(row: Mapping[str, object], line: Line) -> bool:
    """Whether the columns of a row are those of its line."""
    entry = line.entry
    expected = {
        "chain": entry.chain,
        "number": entry.number,
        "time": times.moment(entry.time),
        "principal": entry.principal,
        "key": entry.key,
        "action": entry.action,
        "objects": " ".join(entry.objects),
        "scope": None if entry.scope is None else json.dumps(entry.scope),
        "status": entry.status,
        "error": entry.error,
        "request_id": entry.request_id,
        "entities": " ".join(entry.entities),
    }
    return all(row[name] == value for name, value in expected.items())
