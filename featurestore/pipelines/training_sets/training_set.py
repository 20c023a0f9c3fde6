"""A training set: spine and features at pinned snapshots, stored as one tagged snapshot with its manifest."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import MissingExtra, NotFound, RequestError
from featurestore.pipelines.training_sets.download import fetched
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.splits import PART, checked
from featurestore.records import stored_definition
from featurestore.settings import Settings
from featurestore.values.pandas_frames import to_frame

if TYPE_CHECKING:
    import pandas as pd

    from featurestore.pipelines.training_sets.torch_rows import TorchRows

TAG = "training-set-"
MANIFEST = "featurestore.manifest"


class Read(Protocol):
    """Opens the rows of a training set."""

    def __call__(self, part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """All rows in spine order, or those of one part of the split; all columns of the training set, or these of the files."""


@dataclass(frozen=True)
class TrainingSet:
    """One row for each spine row, in spine order: the spine's columns, then the features.

    `manifest` is JSON-ready and says everything about how it came to be. `read` opens the rows anew at each call,
    `located` finds the data files that hold them, `measured` what is known of the columns; all are given by whoever made the object,
    here or over HTTP. `settings` are those of the store it lies in; None when that is behind a server. `part` is the part of the
    split that is read; None for all rows.
    """

    manifest: dict[str, Any]
    read: Read
    located: Callable[[], Files]
    measured: Callable[[], dict[str, Any]]
    settings: Settings | None = None
    part: str | None = None

    @property
    def id(self) -> str:
        """The id: the name, a dash, and a digest of the request and the snapshots."""
        return str(self.manifest["id"])

    @property
    def name(self) -> str:
        """The name, which is also the name of its table."""
        return str(self.manifest["name"])

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical content, as 64 hexadecimal digits."""
        return str(self.manifest["digest"])

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The pinned snapshot of each feature table; None where it had no rows."""
        found = {name: view["snapshot_id"] for name, view in self.manifest["views"].items()}
        return {name: None if snapshot is None else int(snapshot) for name, snapshot in found.items()}

    @property
    def sql(self) -> str:
        """The SQL of the join."""
        return str(self.manifest["sql"])

    @property
    def plan(self) -> ServicePlan:
        """The service at the versions that were joined."""
        return stored_definition.plan(self.manifest["plan"], f"the manifest of training set {self.id}")

    @property
    def label(self) -> str | None:
        """The label column; None when the request named none."""
        label = self.manifest["label"]
        return None if label is None else str(label)

    @property
    def timestamp(self) -> str:
        """The spine's timestamp column."""
        return str(self.manifest["spine"]["timestamp"])

    @property
    def features(self) -> list[str]:
        """The names of the features, derived ones included, in column order."""
        return [column["name"] for column in self.manifest["columns"] if column["role"] != "spine"]

    @property
    def statistics(self) -> dict[str, Any]:
        """What the features and the label look like, JSON-ready: `training_set`, `rows`, and by name `columns`.

        A column has its `type` and `role`, counts, the most frequent values, and, of numbers and times, quantiles and a histogram.
        """
        return self.measured()

    def split(self, part: str) -> "TrainingSet":
        """The same training set, of which only the rows of one part of its split are read: same id, manifest and statistics.

        Raises: RequestError if it was built without a split; NotFound with the parts there are.
        """
        return replace(self, part=checked(self.manifest, part))

    def reader(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The rows in spine order as an Arrow stream; `columns` as of `to_batches`."""
        if columns is not None:
            self._check(columns, ROW, *([PART] if self.manifest.get("split") else []))
        return self.read(self.part, columns)

    def to_batches(self, rows: int = 65_536, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in spine order as batches of at most `rows`, all columns or these, which may name `__fs_row` and `__fs_split`.

        Raises: NotFound for a column.
        """
        for batch in self.reader(columns):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows in spine order as one table; `columns` as of `to_batches`."""
        return self.reader(columns).read_all()

    def to_pandas(self, columns: Sequence[str] | None = None, *, numpy: bool = False) -> "pd.DataFrame":
        """The rows in spine order as a DataFrame; needs pandas. `columns` as of `to_batches`.

        Columns of integers and booleans that hold NULL are of pandas' `Int64` and `boolean`, which keep every digit; with `numpy` they
        are float64 and object, as numpy has no NULL for them. Raises: MissingExtra without pandas.
        """
        return to_frame(self.to_arrow(columns), numpy)

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

        `columns`: the features and the label when left out. Pieces of files come in the order of `seed` and epoch, and the rows of as
        many as `buffer` rows are shuffled. `rank` of `world` processes reads its share of the pieces: all rows exactly once, not
        equally many each. Raises: MissingExtra without torch; NotFound for a column.
        """
        try:
            # torch takes seconds to import, and only this needs it.
            from featurestore.pipelines.training_sets.torch_rows import TorchRows  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtra("torch", "torch") from error
        wanted = list(columns) if columns is not None else [*self.features, *([self.label] if self.label is not None else [])]
        self._check(wanted)
        for what, value in (("rows", rows), ("buffer", buffer), ("world", world)):
            if value < 1:
                raise RequestError(f"to_torch: {what}={value} must be 1 or more", field=what)
        if not 0 <= rank < world:
            raise RequestError(f"to_torch: rank={rank} is none of {world} processes, which are numbered from 0", field="rank")
        files = self.files() if self.settings is not None else self._fetched(wanted)
        return TorchRows(files, wanted, part=self.part, rows=rows, shuffle=shuffle, seed=seed, buffer=buffer, rank=rank, world=world)

    def files(self) -> Files:
        """The Parquet files of all rows, as a list, for readers of your own; `__fs_row` numbers the rows, `__fs_split` is their part.

        It also has the `table` and `snapshot_id` that they are of, and `dataset()`, for readers of Arrow.
        """
        return self.located()

    def _fetched(self, columns: Sequence[str]) -> Files:
        """All rows, also where one part is read: a type depends on whether there is a NULL in any."""
        own = [ROW] if self.part is None else [ROW, PART]
        return fetched(self.read(None, [*columns, *own]), self.id, int(self.manifest["snapshot_id"]))

    def _check(self, columns: Sequence[str], *own: str) -> None:
        known = [*(column["name"] for column in self.manifest["columns"]), *own]
        for name in columns:
            if name not in known:
                raise NotFound("column", name, known, f"training set {self.id}")

    def __repr__(self) -> str:
        return f"TrainingSet(id={self.id!r}, rows={self.manifest['rows']}, features={len(self.features)}, digest={self.digest[:12]}...)"


def manifest_json(manifest: dict[str, Any]) -> str:
    """A manifest as it is stored in the snapshot's summary."""
    return json.dumps(manifest, separators=(",", ":"))
