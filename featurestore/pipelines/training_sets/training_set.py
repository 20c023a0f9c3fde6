"""A training set: spine and features at pinned snapshots, stored as one tagged snapshot with its manifest."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import MissingExtra, NotFound, RequestError
from featurestore.pipelines.training_sets.download import download
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.splits import PART, check_part
from featurestore.records import stored_definition
from featurestore.settings import Settings
from featurestore.values.pandas_frames import to_frame

if TYPE_CHECKING:
    import pandas as pd

    from featurestore.pipelines.training_sets.torch_rows import TorchRows


class OpenRows(Protocol):
    """Opens the rows of a training set."""

    def __call__(self, part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The rows in spine order, all or those of one part of the split; `columns` None: all columns of the training set."""


@dataclass(frozen=True)
class TrainingSet:
    """One row for each spine row, in spine order: the spine's columns, then the features.

    `manifest` is JSON-ready and describes how it was built. `read` opens the rows, `open_files` finds their data files and
    `load_statistics` the statistics of the columns, from the store or over HTTP. `settings` are those of the store; None if the store
    is behind a server. `part` is the part of the split to read; None for all rows.
    """

    manifest: dict[str, Any]
    read: OpenRows
    open_files: Callable[[], Files]
    load_statistics: Callable[[], dict[str, Any]]
    settings: Settings | None = None
    part: str | None = None

    @property
    def id(self) -> str:
        """The id: the name, a dash, and a hash of the request and the snapshots."""
        return str(self.manifest["id"])

    @property
    def name(self) -> str:
        """The name, which is also the name of its table."""
        return str(self.manifest["name"])

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as 64 hexadecimal digits."""
        return str(self.manifest["digest"])

    def had_digest(self, digest: str) -> bool:
        """Whether this is its digest, or was before rows were erased from it."""
        return digest in (self.digest, *(erasure["digest"] for erasure in self.manifest.get("erasures", ())))

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The pinned snapshot of each feature table; None for a table without rows."""
        snapshots = {name: view["snapshot_id"] for name, view in self.manifest["views"].items()}
        return {name: None if snapshot is None else int(snapshot) for name, snapshot in snapshots.items()}

    @property
    def sql(self) -> str:
        """The SQL of the join."""
        return str(self.manifest["sql"])

    @property
    def plan(self) -> ServicePlan:
        """The service, with the view versions that were joined."""
        return stored_definition.stored_plan(self.manifest["plan"], f"the manifest of training set {self.id}")

    @property
    def label(self) -> str | None:
        """The label column; None if the request named none."""
        label = self.manifest["label"]
        return None if label is None else str(label)

    @property
    def timestamp(self) -> str:
        """The spine's timestamp column."""
        return str(self.manifest["spine"]["timestamp"])

    @property
    def exclude_columns(self) -> list[str]:
        """The columns that `create_training_set` excludes from the inputs of a model; empty for other training sets."""
        return list(self.manifest.get("exclude_columns", ()))

    @property
    def features(self) -> list[str]:
        """The names of the features, derived ones included, in column order."""
        return [column["name"] for column in self.manifest["columns"] if column["role"] != "spine"]

    @property
    def statistics(self) -> dict[str, Any]:
        """Statistics of the features and the label, JSON-ready: `training_set`, `rows`, and `columns` by name.

        A column has its `type`, `role`, counts and most frequent values; numbers and times also have quantiles and a histogram.
        """
        return self.load_statistics()

    def split(self, part: str) -> "TrainingSet":
        """The same training set (id, manifest, statistics), restricted to the rows of one part of its split.

        Raises: RequestError if it was built without a split; NotFound with the parts it has.
        """
        return replace(self, part=check_part(self.manifest, part))

    def reader(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The rows in spine order as an Arrow stream; `columns` as in `to_batches`."""
        if columns is not None:
            self._check(columns, ROW, *([PART] if self.manifest.get("split") else []))
        return self.read(self.part, columns)

    def to_batches(self, rows: int = 65_536, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in spine order as batches of at most `rows` rows; `columns`, default all, may include `__fs_row` and `__fs_split`.

        Raises: NotFound for an unknown column.
        """
        for batch in self.reader(columns):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows in spine order as one table; `columns` as in `to_batches`."""
        return self.reader(columns).read_all()

    def to_pandas(self, columns: Sequence[str] | None = None, *, numpy: bool = False) -> "pd.DataFrame":
        """The rows in spine order as a DataFrame; needs pandas. `columns` as in `to_batches`.

        Integers and booleans with NULL become pandas' `Int64` and `boolean`, which keep every digit; with `numpy` they become float64
        and object, since numpy has no NULL for them. Raises: MissingExtra without pandas.
        """
        return to_frame(self.to_arrow(columns), numpy)

    def load_df(self, *, numpy: bool = False) -> "pd.DataFrame":
        """As `to_pandas`, without the excluded columns: what a model is trained on, and the label."""
        excluded = set(self.exclude_columns)
        return self.to_pandas([column["name"] for column in self.manifest["columns"] if column["name"] not in excluded], numpy=numpy)

    def to_torch(
        self,
        columns: Sequence[str] | None = None,
        *,
        rows: int = 1024,
        shuffle: bool = True,
        seed: int = 0,
        buffer: int = 65_536,
        rank: int = 0,
        world: int = 1,
    ) -> "TorchRows":
        """A torch IterableDataset of batches of `rows` rows, for `DataLoader(..., batch_size=None)`; needs torch.

        `columns` defaults to the features and the label. The order of file pieces follows from `seed` and epoch, and rows are shuffled
        within a buffer of `buffer` rows. Process `rank` of `world` reads its part of the pieces: each row is read by exactly one, but
        they may differ in number of rows. Raises: MissingExtra without torch; NotFound for an unknown column.
        """
        try:
            # torch takes seconds to import, and only this needs it.
            from featurestore.pipelines.training_sets.torch_rows import TorchRows  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtra("torch", "torch") from error
        names = list(columns) if columns is not None else [*self.features, *([self.label] if self.label is not None else [])]
        self._check(names)
        for argument, value in (("rows", rows), ("buffer", buffer), ("world", world)):
            if value < 1:
                raise RequestError(f"to_torch: {argument}={value} must be 1 or more", field=argument)
        if not 0 <= rank < world:
            raise RequestError(f"to_torch: rank={rank} must be from 0 to {world - 1}, since world={world}", field="rank")
        files = self.files() if self.settings is not None else self._download(names)
        return TorchRows(files, names, part=self.part, rows=rows, shuffle=shuffle, seed=seed, buffer=buffer, rank=rank, world=world)

    def files(self) -> Files:
        """The Parquet files of all rows, as a list, for other readers; `__fs_row` is the row number, `__fs_split` the part.

        The list also has the `table` and `snapshot_id` of the files, and `dataset()` for readers of Arrow.
        """
        return self.open_files()

    def _download(self, columns: Sequence[str]) -> Files:
        """All rows, also if one part is read: a tensor type depends on whether there is a NULL in any row."""
        internal = [ROW] if self.part is None else [ROW, PART]
        return download(self.read(None, [*columns, *internal]), self.id, int(self.manifest["snapshot_id"]))

    def _check(self, columns: Sequence[str], *internal: str) -> None:
        known = [*(column["name"] for column in self.manifest["columns"]), *internal]
        for name in columns:
            if name not in known:
                raise NotFound("column", name, known, f"training set {self.id}")

    def __repr__(self) -> str:
        return f"TrainingSet(id={self.id!r}, rows={self.manifest['rows']}, features={len(self.features)}, digest={self.digest[:12]}...)"


def manifest_json(manifest: dict[str, Any]) -> str:
    """The manifest as JSON, as stored in the snapshot's summary."""
    return json.dumps(manifest, separators=(",", ":"))
