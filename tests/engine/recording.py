"""An engine that records its calls, and forwards them to another engine or returns fixed rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore.compiler.query import Query, render
from featurestore.compiler.relations import FieldId, Handle
from featurestore.compiler.scalar.row_function import RowFunction
from featurestore.engine.session import ColumnValues, CompilingEvaluator, Engine, Relation, Session


@dataclass(frozen=True)
class Sent:
    """One call of a session: the method, and the name and the SQL that it was given."""

    method: str
    name: str = ""
    sql: str = ""


Answers = Callable[[str], Mapping[str, str]]
"""The columns of a query, by its text, and their DuckDB types."""


@dataclass
class RecordingEngine:
    """Sessions of `inner` whose calls are recorded in `sent`, a list for each session."""

    inner: Engine
    sent: list[list[Sent]] = field(default_factory=list)

    @property
    def version(self) -> str:
        return self.inner.version

    @property
    def memory(self) -> int:
        return self.inner.memory

    @property
    def evaluator(self) -> CompilingEvaluator:
        return self.inner.evaluator

    @contextmanager
    def session(self, folders: Iterable[str | Path] = ()) -> Iterator[Session]:
        with self.inner.session(folders) as session:
            yield self._record(session)

    @contextmanager
    def brief(self) -> Iterator[Session]:
        with self.inner.brief() as session:
            yield self._record(session)

    def close(self) -> None:
        self.inner.close()

    def _record(self, session: Session) -> "RecordingSession":
        self.sent.append([])
        return RecordingSession(session, self.sent[-1])


@dataclass(frozen=True)
class RecordingSession:
    """A session that records each call in `sent` before it passes it on."""

    inner: Session
    sent: list[Sent]

    @property
    def memory(self) -> int:
        return self.inner.memory

    @property
    def folder(self) -> Path:
        return self.inner.folder

    def add(self, name: str, relation: Relation) -> Handle:
        self.sent.append(Sent("add", name))
        return self.inner.add(name, relation)

    def create_table(self, name: str, query: Query) -> Handle:
        self.sent.append(Sent("create_table", name, render(query)))
        return self.inner.create_table(name, query)

    def create_view(self, name: str, query: Query) -> Handle:
        self.sent.append(Sent("create_view", name, render(query)))
        return self.inner.create_view(name, query)

    def rename_table(self, table: Handle, name: str) -> Handle:
        self.sent.append(Sent("rename_table", name))
        return self.inner.rename_table(table, name)

    def clear(self) -> None:
        self.sent.append(Sent("clear"))
        self.inner.clear()

    def schema(self, query: Query | Handle) -> dict[str, str]:
        self.sent.append(Sent("schema", sql=render(query)))
        return self.inner.schema(query)

    def batches(self, query: Query | Handle, rows: int = 65_536) -> pa.RecordBatchReader:
        self.sent.append(Sent("batches", sql=render(query)))
        return self.inner.batches(query, rows)

    def write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        self.sent.append(Sent("write", folder.name, str(query)))
        return self.inner.write(query, folder, ids, group_rows, month_of)

    def write_divided(self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, by: str) -> dict[int, list[Path]]:
        self.sent.append(Sent("write_divided", folder.name, str(query)))
        return self.inner.write_divided(query, folder, ids, group_rows, by)


@dataclass(frozen=True)
class CannedEngine:
    """An engine without a database: each query has the columns that `answers` gives for its text, and no rows."""

    answers: Answers
    version: str = "canned 1"
    memory: int = 1 << 30

    @property
    def evaluator(self) -> CompilingEvaluator:
        return CannedEvaluator()

    @contextmanager
    def session(self, folders: Iterable[str | Path] = ()) -> Iterator[Session]:
        yield CannedSession(self.answers, self.memory)

    @contextmanager
    def brief(self) -> Iterator[Session]:
        yield CannedSession(self.answers, self.memory)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class CannedSession:
    """A session of CannedEngine."""

    answers: Answers
    memory: int

    @property
    def folder(self) -> Path:
        raise NotImplementedError("a canned session has no folder")

    def add(self, name: str, relation: Relation) -> Handle:
        return Handle(name)

    def create_table(self, name: str, query: Query) -> Handle:
        return Handle(name)

    def create_view(self, name: str, query: Query) -> Handle:
        return Handle(name)

    def rename_table(self, table: Handle, name: str) -> Handle:
        return Handle(name)

    def clear(self) -> None:
        """Nothing is stored."""

    def schema(self, query: Query | Handle) -> dict[str, str]:
        return dict(self.answers(render(query)))

    def batches(self, query: Query | Handle, rows: int = 65_536) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(name, pa.null()) for name in self.schema(query)])
        return pa.RecordBatchReader.from_batches(schema, [])

    def write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        return 0, []

    def write_divided(self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, by: str) -> dict[int, list[Path]]:
        return {}


class CannedEvaluator:
    """An evaluator that knows no expression."""

    def evaluate(self, expressions: Sequence[str], given: ColumnValues, rows: int | None = None) -> list[list[Any]]:
        raise NotImplementedError(f"no values for {', '.join(expressions)}")

    def types_of(self, expressions: Sequence[str], given: ColumnValues, rows: int = 1) -> tuple[str, ...]:
        raise NotImplementedError(f"no types for {', '.join(expressions)}")

    def row_function(self, expressions: Sequence[str], columns: Mapping[str, str]) -> RowFunction | None:
        return None
