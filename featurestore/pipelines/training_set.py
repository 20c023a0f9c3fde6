"""A training set: spine and features at pinned snapshots, stored as one tagged snapshot with its manifest."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.errors import NotYet
from featurestore.pipelines.splits import checked
from featurestore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

TAG = "training-set-"
MANIFEST = "featurestore.manifest"


class Read(Protocol):
    """Opens the rows of a training set."""

    def __call__(self, part: str | None = None) -> pa.RecordBatchReader:
        """All rows in spine order, or those of one part of the split."""


@dataclass(frozen=True)
class TrainingSet:
    """One row for each spine row, in spine order: the spine's columns, then the features.

    `manifest` is JSON-ready and says everything about how it came to be. `read` opens the rows anew at each call,
    `paths` the data files that hold them, `measured` what is known of the columns; all are given by whoever made the object,
    here or over HTTP. `settings` are those of the store it lies in; None when that is behind a server. `part` is the part of the
    split that is read; None for all rows.
    """

    manifest: dict[str, Any]
    read: Read
    paths: Callable[[], list[str]]
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
        return service_plan_from_dict(self.manifest["plan"])

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

    def to_batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rows in spine order as batches of at most `rows`."""
        for batch in self.read(self.part):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    def to_arrow(self) -> pa.Table:
        """The rows in spine order as one table."""
        return self.read(self.part).read_all()

    def to_pandas(self) -> "pd.DataFrame":
        """The rows in spine order as a DataFrame; needs pandas."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_torch(self) -> Any:
        """Not there yet. Raises: NotYet."""
        raise NotYet("to_torch() is not there yet; wrap to_batches() in a torch IterableDataset, or read files() yourself")

    def files(self) -> list[str]:
        """The Parquet files of all rows, for readers of your own; `__fs_row` numbers the rows, `__fs_split` is their part."""
        return self.paths()

    def __repr__(self) -> str:
        return f"TrainingSet(id={self.id!r}, rows={self.manifest['rows']}, features={len(self.features)}, digest={self.digest[:12]}...)"


def manifest_json(manifest: dict[str, Any]) -> str:
    """A manifest as it is stored in the snapshot's summary."""
    return json.dumps(manifest, separators=(",", ":"))
