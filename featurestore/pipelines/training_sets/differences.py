"""Find the rows of a rebuild that differ from the stored ones."""

from typing import Any

import pyarrow as pa

from featurestore.values.json_encoding import plain

SHOWN = 5
"""How many differing rows are reported."""


class Differences:
    """Compares rebuilt rows, added in order, with the stored ones; `rows` has the first ones that differ, JSON-ready.

    Each has its number in spine order (`row`) and, in `columns`, the `recorded` and the `rebuilt` value by name. NaN equals NaN.
    """

    def __init__(self, stored: pa.RecordBatchReader) -> None:
        self._stored, self._buffer = stored, stored.schema.empty_table()
        self._seen = 0
        self.rows: list[dict[str, Any]] = []

    def update(self, batch: pa.RecordBatch) -> None:
        """Compare the next rows."""
        stored_rows = self._next(batch.num_rows)
        differing: dict[int, dict[str, dict[str, Any]]] = {}
        if len(self.rows) < SHOWN:
            for name, recorded, rebuilt in zip(stored_rows.schema.names, stored_rows.columns, batch.columns, strict=True):
                if not recorded.equals(pa.chunked_array([rebuilt])):
                    for row, (left, right) in enumerate(zip(recorded.to_pylist(), rebuilt.to_pylist(), strict=True)):
                        # repr distinguishes what the digest does: -0.0 from 0.0, but no NaN from another.
                        if repr(left) != repr(right):
                            differing.setdefault(row, {})[name] = {"recorded": _to_json(left), "rebuilt": _to_json(right)}
        for row in sorted(differing)[: SHOWN - len(self.rows)]:
            self.rows.append({"row": self._seen + row, "columns": differing[row]})
        self._seen += batch.num_rows

    def _next(self, rows: int) -> pa.Table:
        while self._buffer.num_rows < rows:
            self._buffer = pa.concat_tables([self._buffer, pa.Table.from_batches([self._stored.read_next_batch()])])
        stored_rows, self._buffer = self._buffer.slice(0, rows), self._buffer.slice(rows)
        return stored_rows

    def __str__(self) -> str:
        if not self.rows:
            return "the rebuilt rows equal the stored rows, but the recorded digest does not match them"
        lines = [
            f"row {row['row']}: "
            + ", ".join(f"{name} {value['recorded']!r} became {value['rebuilt']!r}" for name, value in row["columns"].items())
            for row in self.rows
        ]
        return "; ".join(lines)


def _to_json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list) else plain(value)
