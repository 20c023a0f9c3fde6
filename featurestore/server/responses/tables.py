"""Writes of tables, and what happened to a table."""

from featurestore.server.responses.answer import Answer


class TableWrite(Answer):
    """The result of a write: how many rows were given, appended, corrected, deleted and published."""

    table: str
    mode: str
    rows: int
    rows_appended: int
    corrections: int
    deletions: int
    snapshot_id: str | None
    published: int
    run_id: str
    seconds: float


class Pushed(Answer):
    """What became of a push: how many of its rows were new, and of how many the id was known; when they became durable."""

    source: str
    rows: int
    new: int
    known: int
    acknowledged: str | None
    offset: int | None
    late: str | None


class SourceWrite(Answer):
    """The result of a write to a source: how many rows were given, new, and corrected."""

    source: str
    mode: str
    rows: int
    new: int
    corrected: int
    snapshot_id: str | None


class TableEvent(Answer):
    """One change of a table; `snapshot_id` is null for what made no snapshot, `rows` for callers who may not read all rows."""

    table: str
    snapshot_id: str | None
    at: str
    by: str | None
    operation: str
    rows: int | None
    run_id: str | None
