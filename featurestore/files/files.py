"""The files that a source or a spine names, opened: each once, however often a verb reads them."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from featurestore.dsl.csv import Csv
from featurestore.engine.session import Engine
from featurestore.errors import RequestError
from featurestore.files.csv_files import CsvFiles, csv
from featurestore.files.footers import Footers
from featurestore.files.parquet_files import ParquetFiles, parquet

_KEPT = 16
_CSV = (".csv", ".csv.gz")


class Files:
    """Files as relations, by what they are named and their states. For several threads."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._footers = Footers()
        self._lock = Lock()
        self._held: dict[tuple[object, ...], ParquetFiles | CsvFiles] = {}

    def open(self, states: Mapping[str, str], written: Csv | None = None, times: Sequence[str] = ()) -> ParquetFiles | CsvFiles:
        """Files (path -> state) as one relation; `written` is the format of CSV files, and `times` their columns of times.

        Raises: RequestError naming the file that cannot be read, and of a CSV file the line; TypeMismatch for a column that two
        files have in types that do not go together.
        """
        key = (tuple(states.items()), repr(written), tuple(times))
        with self._lock:
            found = self._held.get(key)
        if found is None:
            found = self._open(states, written, times)
            with self._lock:
                self._held[key] = found
                while len(self._held) > _KEPT:
                    del self._held[next(iter(self._held))]
        return found

    def _open(self, states: Mapping[str, str], written: Csv | None, times: Sequence[str]) -> ParquetFiles | CsvFiles:
        texts = [path for path in states if is_csv(path)]
        if texts and len(texts) < len(states):
            other = next(path for path in states if not is_csv(path))
            raise RequestError(f"{texts[0]} is CSV and {other} is not; name them in two sources")
        if texts:
            return csv(self._engine(), texts, written or Csv(), times)
        return parquet(list(states), self._footers.of(states))


def is_csv(path: str) -> bool:
    """Whether a file is CSV by its name."""
    return path.lower().endswith(_CSV)
