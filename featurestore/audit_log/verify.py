"""Verify the audit log: every hash, in files and table, and the heads that are recorded where the entries are not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from featurestore.audit_log.entry import NOTHING, Line, open_line
from featurestore.audit_log.folder import audit_path, list_segments, read_lines, read_waiting
from featurestore.audit_log.log import HEADS, LINKS
from featurestore.audit_log.results import AuditProblem, AuditVerification, ChainHead
from featurestore.audit_log.retired_heads import ANY, last_row
from featurestore.audit_log.runs import Runs, describe_missing
from featurestore.audit_log.table import Head, find_table, heads_in, same_row
from featurestore.errors import RequestError, brief
from featurestore.lakehouse import granted, scans, tables
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime

MOST_PROBLEMS = 100
TABLE, FILES = "table", "files"
_Known = dict[str, dict[int, str]]


def verify_audit_log(runtime: Runtime, heads: Iterable[ChainHead] = ()) -> AuditVerification:
    """Find every edited, removed, doubled, swapped or truncated entry. `heads` are heads that were kept elsewhere.

    Raises: NotReady, if the table or its files cannot be read.
    """
    # Files first: what is flushed and removed meanwhile is in the table then.
    folder = audit_path(runtime.settings)
    # Journals before segments: what gets its hash meanwhile is in a segment then.
    waiting = {chain: [entry.number for entry in read_waiting(folder, chain)] for chain in list_segments(folder)}
    segments = list_segments(folder)
    local = [(chain, content) for chain in segments for segment in segments[chain] for content in read_lines(segment)]
    table = find_table(runtime)
    anchors = {} if table is None else heads_in(table.properties)
    known: _Known = {}
    flushed: dict[str, int] = {}
    for head in heads:
        _note(known, head.chain, Head(head.number, head.hash))
    if table is not None:
        for properties in (table.properties, *(tables.summary(table, snapshot) for snapshot in table.snapshot_ids)):
            for chain, anchor in heads_in(properties).items():
                _note(known, chain, anchor)
                flushed[chain] = max(flushed.get(chain, 0), anchor.number)
        _note_links(known, granted.system(table, runtime.settings))
    files = Runs(FILES, known, ordered=True)
    opened = [line for chain, content in local if (line := _open(files, chain, content)) is not None]
    for line in opened:
        _note_link(known, line)
        # An entry that is in both places is the same.
        _note(known, line.entry.chain, Head(line.entry.number, line.hash))
    stored = Runs(TABLE, known, ordered=False)
    if table is not None:
        _read_table(stored, granted.system(table, runtime.settings))
    for line in opened:
        files.add(line)
    stored.check({})
    if table is not None and ANY in table.properties:
        log = granted.system(table, runtime.settings)
        anchors |= {chain: last for chain in files.chains if chain not in anchors and (last := last_row(log, chain)) is not None}
    files.check({chain: _start(chain, opened, anchors.get(chain)) for chain in files.chains})
    missing = [*_missing(known, flushed, stored, files), *_missing_before(waiting, stored, files)]
    problems = [*stored.problems, *files.problems, *missing]
    unique = {(problem.chain, problem.number, problem.what): problem for problem in problems}
    ordered = sorted(unique.values(), key=lambda problem: (problem.chain, problem.number))
    chains = stored.chains | files.chains
    entries = sum(stored.count(chain) + files.count(chain, stored.last(chain)) for chain in chains)
    return AuditVerification(not ordered, len(chains), entries, tuple(ordered[:MOST_PROBLEMS]))


def _missing_before(waiting: Mapping[str, Sequence[int]], stored: Runs, files: Runs) -> Iterator[AuditProblem]:
    """Between the last entry of a chain and those that wait for their hashes."""
    for chain, numbers in waiting.items():
        last = max(stored.last(chain), files.last(chain))
        if numbers and numbers[0] > last + 1:
            yield AuditProblem(chain, last + 1, f"{describe_missing(last + 1, numbers[0] - 1)} ({FILES})")


def heads_of_documents(value: Any) -> list[ChainHead]:
    """Heads as `read_heads` of `reading` returns them, from their JSON form. Raises: RequestError."""
    try:
        return [head if isinstance(head, ChainHead) else ChainHead.from_dict(head) for head in value]
    except (TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"heads={brief(value)} are not what featurestore audit-log head --json prints", field="heads") from error


def _start(chain: str, lines: Iterable[Line], anchor: Head | None) -> Head:
    """What the first entry of a chain in files follows from: itself, if the table has it, since its hash is compared with the table's."""
    if anchor is None:
        return Head(0, NOTHING)
    first = next((line for line in lines if line.entry.chain == chain), None)
    if first is not None and first.entry.number <= anchor.number:
        return Head(first.entry.number - 1, first.entry.previous)
    return anchor


def _open(runs: Runs, chain: str, content: bytes) -> Line | None:
    try:
        line = open_line(content)
        if line.entry.chain != chain:
            raise ValueError("is of another chain")
    except ValueError as error:
        runs.report(chain, _number_in(content), str(error))
        return None
    return line


def _read_table(runs: Runs, log: Granted) -> None:
    for batch in scans.read_snapshot(log, log.table.snapshot_id):
        for row in batch.to_pylist():
            chain, number = str(row["chain"]), int(row["number"] or 0)
            try:
                line = open_line(str(row["line"]).encode())
                if not same_row(row, line):
                    raise ValueError("was edited: its columns are not those of its line")
            except ValueError as error:
                runs.report(chain, number, str(error))
                continue
            runs.add(line)


def _note_links(known: _Known, log: Granted) -> None:
    """Note the heads that chains recorded of one another when they were opened."""
    for action in LINKS:
        for text in scans.read_equal(log, "action", action, columns=("line",)).column("line").to_pylist():
            try:
                _note_link(known, open_line(str(text).encode()))
            except ValueError:
                # Reported when the table is read.
                continue


def _note_link(known: _Known, line: Line) -> None:
    if line.entry.action in LINKS:
        links: Mapping[str, Any] = (line.entry.scope or {}).get(HEADS, {})
        for chain, (number, hash) in links.items():
            _note(known, chain, Head(number, hash))


def _note(known: _Known, chain: str, head: Head) -> None:
    known.setdefault(chain, {}).setdefault(head.number, head.hash)


def _missing(known: _Known, flushed: Mapping[str, int], stored: Runs, files: Runs) -> Iterable[AuditProblem]:
    """Entries at the ends of chains that are known and nowhere, or that were flushed and are not in the table."""
    for chain, hashes in known.items():
        for last, recorded, place in (
            (max(stored.last(chain), files.last(chain)), max(hashes), ""),
            (stored.last(chain), flushed.get(chain, 0), f" ({TABLE})"),
        ):
            if last < recorded:
                what = "the chain is missing" if last == 0 else f"{describe_missing(last + 1, recorded)}: the chain was truncated"
                yield AuditProblem(chain, last + 1, what + place)
                break


def _number_in(content: bytes) -> int:
    """The number that a damaged line seems to have; 0 if it has none."""
    digits = content.partition(b'"number":')[2][:18].partition(b",")[0]
    return int(digits) if digits.isdigit() else 0
