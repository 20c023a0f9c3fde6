"""Where the rows of a rebuild are not those that are stored."""

from typing import Any

import pyarrow as pa

from featurestore.values.json_encoding import plain

SHOWN = 5
"""So many rows are told."""


class Differences:
    """Feed it the rebuilt rows in order; `rows` has the first ones that differ from the stored ones, JSON-ready.

    Each has its number in spine order (`row`), and by `columns` the `recorded` and the `rebuilt` value. NaN equals NaN.
    """

    def __init__(self, stored: pa.RecordBatchReader) -> None:
        self._stored, self._waiting = stored, stored.schema.empty_table()
        self._seen = 0
        self.rows: list[dict[str, Any]] = []

    def update(self, batch: pa.RecordBatch) -> None:
        """Compare the next rows."""
        held = self._next(batch.num_rows)
        found: dict[int, dict[str, dict[str, Any]]] = {}
        if len(self.rows) < SHOWN:
            for name, recorded, rebuilt in zip(held.schema.names, held.columns, batch.columns, strict=True):
                if not recorded.equals(pa.chunked_array([rebuilt])):
                    for row, (left, right) in enumerate(zip(recorded.to_pylist(), rebuilt.to_pylist(), strict=True)):
                        # Their spelling tells them apart as the digest does: -0.0 from 0.0, and no NaN from another.
                        if repr(left) != repr(right):
                            found.setdefault(row, {})[name] = {"recorded": _shown(left), "rebuilt": _shown(right)}
        for row in sorted(found)[: SHOWN - len(self.rows)]:
            self.rows.append({"row": self._seen + row, "columns": found[row]})
        self._seen += batch.num_rows

    def _next(self, rows: int) -> pa.Table:
        while self._waiting.num_rows < rows:
            self._waiting = pa.concat_tables([self._waiting, pa.Table.from_batches([self._stored.read_next_batch()])])
        held, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        return held

    def __str__(self) -> str:
        if not self.rows:
            return "the rebuilt rows are the stored ones, so what was recorded is not what is stored"
        told = [
            f"row {one['row']}: "
            + ", ".join(f"{name} {value['recorded']!r} became {value['rebuilt']!r}" for name, value in one["columns"].items())
            for one in self.rows
        ]
        return "; ".join(told)


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list) else plain(value)
