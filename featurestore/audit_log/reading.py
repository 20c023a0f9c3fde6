"""Read the audit log: the newest entries of a principal or an action, and the heads of all chains."""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

from featurestore.audit_log.entry import Entry, Line, open_line
from featurestore.audit_log.folder import audit_path, list_segments, load_secret, read_heads, read_lines, read_waiting
from featurestore.audit_log.keyed_hashes import entity_text, keyed_hash
from featurestore.audit_log.results import AuditEntry, ChainHead
from featurestore.audit_log.table import find_table, heads_in
from featurestore.errors import RequestError, brief
from featurestore.lakehouse import granted, scans
from featurestore.records.runtime import Runtime
from featurestore.values import times

MOST = 10_000
"""Most entries of one answer."""


def read_entries(
    runtime: Runtime,
    principal: str | None = None,
    since: Any = None,
    action: str | None = None,
    entity: Mapping[str, Any] | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """The newest entries, the newest first, in the table and in files.

    `principal` and `action` are whole texts; `since` a time; `entity` the keys of an entity that was looked up online. Raises:
    RequestError; NotReady.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise RequestError(f"limit={brief(limit)}: use 1 to {MOST}", field="limit")
    earliest = None if since is None else times.parse(since, "since")
    digest = None if entity is None else _digest(runtime, entity)
    newest: list[tuple[int, str, int, Entry]] = []
    for entry in _all_entries(runtime):
        if (
            (principal is not None and entry.principal != principal)
            or (action is not None and entry.action != action)
            or (earliest is not None and entry.time < earliest)
            or (digest is not None and digest not in entry.entities)
        ):
            continue
        item = (entry.time, entry.chain, entry.number, entry)
        if len(newest) < limit:
            heapq.heappush(newest, item)
        else:
            heapq.heappushpop(newest, item)
    return [_result(entry) for _, _, _, entry in sorted(newest, key=lambda item: item[:3], reverse=True)]


def read_all_heads(runtime: Runtime) -> list[ChainHead]:
    """The last entry of every chain, to be kept elsewhere: `verify` compares the log with it."""
    table = find_table(runtime)
    heads = {} if table is None else {chain: (head.number, head.hash) for chain, head in heads_in(table.properties).items()}
    for chain, line in read_heads(audit_path(runtime.settings)).items():
        heads[chain] = max(heads.get(chain, (0, "")), (line.entry.number, line.hash))
    return [ChainHead(chain, number, hash) for chain, (number, hash) in sorted(heads.items())]


def _all_entries(runtime: Runtime) -> Iterator[Entry]:
    """Every entry once: those of files that are not in the table yet, and the table's. Damaged ones are left to `verify`."""
    folder = audit_path(runtime.settings)
    # Journals first: what gets its hash meanwhile is in a segment then.
    waiting = [entry for chain in list_segments(folder) for entry in read_waiting(folder, chain)]
    local = [content for segments in list_segments(folder).values() for segment in segments for content in read_lines(segment)]
    table = find_table(runtime)
    heads = {} if table is None else {chain: head.number for chain, head in heads_in(table.properties).items()}
    last = dict(heads)
    for content in local:
        line = _opened(content)
        if line is not None:
            chain, number = line.entry.chain, line.entry.number
            last[chain] = max(last.get(chain, 0), number)
            if number > heads.get(chain, 0):
                yield line.entry
    yield from (entry for entry in waiting if entry.number > last.get(entry.chain, 0))
    if table is not None:
        for batch in scans.read_snapshot(granted.system(table, runtime.settings), table.snapshot_id, columns=["line"]):
            yield from (line.entry for text in batch.column("line").to_pylist() if (line := _opened(str(text).encode())) is not None)


def _opened(content: bytes) -> Line | None:
    try:
        return open_line(content)
    except ValueError:
        return None


def _digest(runtime: Runtime, entity: Mapping[str, Any]) -> str:
    return keyed_hash(load_secret(audit_path(runtime.settings)), entity_text(entity))


def _result(entry: Entry) -> AuditEntry:
    return AuditEntry(
        times.moment(entry.time),
        entry.principal,
        entry.action,
        tuple(entry.objects),
        entry.status,
        entry.error,
        entry.key,
        entry.request_id,
        None if entry.scope is None else dict(entry.scope),
        tuple(entry.entities),
        entry.chain,
        entry.number,
    )
