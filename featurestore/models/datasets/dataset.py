"""Datasets of runs that are snapshots of the catalog: `mlflow.data.load_iceberg` for any table, and those of training sets.

As `dataset_source`, MLflow imports this while it is itself imported. It looks at the annotations of constructors, which must not be text.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.data.dataset import Dataset

from featurestore.models.datasets.dataset_source import SnapshotSource, place_of, snapshot_source

_TYPES = {
    "bool": "boolean",
    "int8": "integer",
    "int16": "integer",
    "int32": "integer",
    "int64": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "large_string": "string",
    "binary": "binary",
    "date32[day]": "datetime",
    "timestamp[us, tz=UTC]": "datetime",
    "timestamp[us]": "datetime",
}
"""Types of MLflow's schemas by those of Arrow; columns of other types are left out."""


class SnapshotDataset(Dataset):
    """A dataset that is a snapshot of a table, with its number of rows and its columns, names of Arrow types by name."""

    def __init__(
        self,
        source: SnapshotSource,
        rows: int | None,
        columns: Mapping[str, str],
        name: str | None = None,
        digest: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._rows, self._columns, self._more = rows, dict(columns), dict(more or {})
        super().__init__(source, name or source.name, digest)

    def _compute_digest(self) -> str:
        # The id of a snapshot names the content of its table.
        return str(self._source.to_dict()["snapshot_id"] or "none")

    def load(self) -> Any:
        """The rows, as `SnapshotSource.load`."""
        return self._source.load()

    @property
    def profile(self) -> dict[str, Any]:
        """The number of rows, the table, and its snapshot."""
        facts = self._source.to_dict()
        rows = {} if self._rows is None else {"num_rows": self._rows}
        return {**rows, "table": facts["table"], "snapshot_id": facts["snapshot_id"], **self._more}

    @property
    def schema(self) -> list[dict[str, Any]]:
        """The columns, as MLflow's `ColSpec` in its JSON form."""
        return [{"type": _TYPES[kind], "name": name, "required": False} for name, kind in self._columns.items() if kind in _TYPES]

    def to_dict(self) -> dict[str, str]:
        """The dataset as MLflow stores it."""
        return {**super().to_dict(), "profile": json.dumps(self.profile), "schema": json.dumps({"mlflow_colspec": self.schema})}


def load_iceberg(
    table: str, snapshot_id: int | str | None = None, name: str | None = None, digest: str | None = None, store: Any = None
) -> SnapshotDataset:
    """A dataset of a table of the catalog for `mlflow.log_input`, at a snapshot, by default the current one.

    `mlflow.data.load_iceberg` is this function. `store` is a FeatureStore, by default the configured one. The digest is by default the id
    of the snapshot. Raises: NotFound with the nearest tables or snapshots.
    """
    source = snapshot_source(table, snapshot_id, store)
    return SnapshotDataset(source, source.rows, source.columns, name, digest)


def training_dataset(manifest: Mapping[str, Any], part: str | None, store: Mapping[str, Any]) -> SnapshotDataset:
    """The dataset of a training set, or of a part of it, of a store as `describe_store` describes it."""
    facts = {
        "table": f"{store['training_sets_namespace']}.{manifest['name']}",
        "snapshot_id": str(manifest["snapshot_id"]),
        "training_set": manifest["id"],
        "digest": manifest["digest"],
        "part": part,
        "snapshots": {view["table"]: view["snapshot_id"] for view in manifest["views"].values()},
        **place_of(store),
    }
    rows = manifest["rows"] if part is None else manifest["split"]["rows"][part]
    columns = _types(manifest["columns"])
    # MLflow keeps one dataset for equal names and digests, and truncates digests to 36 characters.
    return SnapshotDataset(SnapshotSource(facts), rows, columns, digest=manifest["digest"][:36], more={"digest": manifest["digest"]})


def _types(columns: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {column["name"]: column["type"] for column in columns}
