"""Rows as pieces: Parquet files that DuckDB writes and reads by field id, so that each value comes back as it was."""

import errno
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from featurestore.compiler.buckets import BUCKET
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Column, IcebergFiles
from featurestore.distribution.work import Piece
from featurestore.engine.session import Session
from featurestore.errors import OutOfResources

GROUP_ROWS = 1 << 17


def columns_of(types: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns of these DuckDB types, with field ids of their own."""
    return tuple(Column(index, name, sql_type) for index, (name, sql_type) in enumerate(types.items(), 1))


def divide(session: Session, rows: Query, types: Mapping[str, str], kind: str) -> Iterator[Piece]:
    """The rows of a query by the bucket in its column BUCKET (see `compiler.buckets`); `types` are those of its other columns.

    Raises: RequestError if the query fails on the data; OutOfResources.
    """
    folder = session.folder / f"pieces-{uuid.uuid4().hex}"
    ids = {column.name: column.id for column in columns_of(types)}
    try:
        for bucket, paths in session.write_divided(rows, folder, ids, GROUP_ROWS, BUCKET).items():
            for path in paths:
                yield Piece(bucket, kind, path.read_bytes())
                path.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ReceivedPieces:
    """Pieces of one bucket, written to files of a session as they arrive: a bucket may be larger than memory."""

    def __init__(self, session: Session) -> None:
        self._folder = session.folder / f"received-{uuid.uuid4().hex}"
        self._folder.mkdir()
        self._paths: dict[str, list[Path]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        paths = self._paths.setdefault(piece.kind, [])
        paths.append(self._folder / f"{piece.kind}-{len(paths)}.parquet")
        try:
            paths[-1].write_bytes(piece.data)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OutOfResources(
                f"the disk of the worker {socket.gethostname()} is full: free some space in {self._folder.parents[2]}, or set TMPDIR there",
                resource="disk",
            ) from error
        self._bytes[piece.kind] = self._bytes.get(piece.kind, 0) + len(piece.data)

    def rows(self, kind: str, columns: Sequence[Column], rows: int = 0) -> IcebergFiles:
        """The rows of the pieces of a kind, with those columns that `divide` wrote; `rows` is their number, as far as it is known."""
        paths = tuple(str(path) for path in self._paths.get(kind, ()))
        return IcebergFiles(paths, tuple(columns), rows=rows, bytes=self._bytes.get(kind, 0))
