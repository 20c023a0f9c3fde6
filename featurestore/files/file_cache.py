"""Cache of opened files of sources and spines, so that files read several times are opened once."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from types import MappingProxyType

from featurestore.dsl.csv_format import Csv
from featurestore.engine.session import Engine
from featurestore.errors import RequestError
from featurestore.files.csv_files import CsvFiles, read_csv_files
from featurestore.files.footers import Footers
from featurestore.files.parquet_files import ParquetFiles, read_parquet_files

_KEPT = 16
_CSV = (".csv", ".csv.gz")


class FileCache:
    """Opens files as relations, cached by their paths and states. Thread-safe."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._footers = Footers()
        self._lock = Lock()
        self._cache: dict[tuple[object, ...], ParquetFiles | CsvFiles] = {}

    def open(
        self,
        states: Mapping[str, str],
        csv: Csv | None = None,
        times: Sequence[str] = (),
        partitions: Mapping[str, str] = MappingProxyType({}),
    ) -> ParquetFiles | CsvFiles:
        """Open files (path -> state) as one relation; `csv` is the format of CSV files, `times` their time columns, and
        `partitions` the declared types of columns in folder names.

        Raises: RequestError naming the file that cannot be read, and for a CSV file the line; TypeMismatch for a column with
        incompatible types in two files.
        """
        key = (tuple(states.items()), repr(csv), tuple(times), tuple(partitions.items()))
        with self._lock:
            relation = self._cache.get(key)
        if relation is None:
            relation = self._open(states, csv, times, partitions)
            with self._lock:
                self._cache[key] = relation
                while len(self._cache) > _KEPT:
                    del self._cache[next(iter(self._cache))]
        return relation

    def _open(
        self, states: Mapping[str, str], csv: Csv | None, times: Sequence[str], partitions: Mapping[str, str]
    ) -> ParquetFiles | CsvFiles:
        csv_paths = [path for path in states if is_csv(path)]
        if csv_paths and len(csv_paths) < len(states):
            other = next(path for path in states if not is_csv(path))
            raise RequestError(f"{csv_paths[0]} is CSV and {other} is not; name them in two sources")
        if csv_paths:
            return read_csv_files(self._engine(), csv_paths, csv or Csv(), times, partitions)
        return read_parquet_files(list(states), self._footers.of(states), partitions)


def is_csv(path: str) -> bool:
    """Whether a file's name is that of a CSV file."""
    return path.lower().endswith(_CSV)
