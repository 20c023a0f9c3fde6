"""A snapshot of a table of the catalog as MLflow's dataset source: `mlflow.data.get_source(dataset).load()` reads its rows.

MLflow imports this module while it is itself imported, so nothing else of MLflow, and nothing that takes long, is imported with it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlflow.data.dataset_source import DatasetSource

from featurestore.errors import Conflict, NotFound, RequestError

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.lakehouse.table import Table
    from featurestore.store import FeatureStore

SOURCE_TYPE = "featurestore"
PREFIX = "iceberg:"


class SnapshotSource(DatasetSource):
    """A snapshot of an Iceberg table, as `facts`, which are JSON values.

    `table` and `snapshot_id` (text; None: the table had no snapshot) name it, and `uuid` the table; `store` has the settings of the store,
    without secrets, and `catalog` the arguments of pyiceberg's `load_catalog`, for whoever has nothing else. A training set has
    `training_set`, `digest`, `part` and `snapshots` too. `rows` and `columns` (names of Arrow types by name) are
    known where the table was just read.
    """

    def __init__(self, facts: Mapping[str, Any], rows: int | None = None, columns: Mapping[str, str] | None = None) -> None:
        self.facts = dict(facts)
        self.rows = rows
        self.columns = dict(columns or {})

    @property
    def name(self) -> str:
        """The table with its snapshot, such as shop.orders@123, and the part of a training set's split."""
        part = self.facts.get("part")
        return f"{self.facts['table']}@{self.facts['snapshot_id'] or 'none'}{'' if part is None else f'.{part}'}"

    def load(self) -> "pa.Table":
        """The rows, as an Arrow table: those of a training set, or of its part, in spine order.

        The store is the configured one, else that of the source. Raises: NotFound for a table or snapshot that is gone; Conflict for
        another table of the same name.
        """
        with self._open() as store:
            if self.facts.get("training_set") is not None:
                whole = store.get_training_set(self.facts["training_set"])
                return (whole if self.facts.get("part") is None else whole.split(self.facts["part"])).to_arrow()
            # As below.
            from featurestore.lakehouse import scans, tables  # noqa: PLC0415
            from featurestore.models.stamps.store_access import runtime_of  # noqa: PLC0415

            table = tables.load(store.catalog, self.facts["table"])
            if table.uuid != self.facts["uuid"]:
                raise Conflict(f"{table.name} has the uuid {table.uuid}, but the source {self.facts['uuid']}: it is another table")
            snapshot = self.facts["snapshot_id"]
            if snapshot is not None:
                tables.snapshot(table, int(snapshot))
            return scans.read_snapshot(runtime_of(store).operator.grant(table), None if snapshot is None else int(snapshot)).read_all()

    @contextmanager
    def _open(self) -> "Iterator[FeatureStore]":
        # Not with this module, which `import mlflow` imports.
        from featurestore.models.stamps.locate_store import store_settings  # noqa: PLC0415
        from featurestore.store import FeatureStore  # noqa: PLC0415

        with FeatureStore(settings=store_settings(self.facts["store"], f"the dataset {self.name} was logged")) as store:
            yield store

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, str) and raw_source.startswith(PREFIX)

    @classmethod
    def _resolve(cls, raw_source: str) -> "SnapshotSource":
        """The source of "iceberg:namespace.table[@snapshot]" in the configured store, by default at its current snapshot."""
        table, _, snapshot = raw_source.removeprefix(PREFIX).partition("@")
        return snapshot_source(table, snapshot or None)

    def to_dict(self) -> dict[str, Any]:
        """The facts."""
        return dict(self.facts)

    @classmethod
    def from_dict(cls, source_dict: Mapping[Any, Any]) -> "SnapshotSource":
        """The source of these facts."""
        return cls(source_dict)


def snapshot_source(table: str, snapshot_id: int | str | None = None, store: "FeatureStore | None" = None) -> SnapshotSource:
    """The source of a table of a store's catalog, by default the configured store's, at a snapshot, by default the current one.

    Raises: NotFound with the nearest tables or snapshots; RequestError for what is no snapshot id.
    """
    # As in `_open`.
    from featurestore.lakehouse import tables  # noqa: PLC0415
    from featurestore.models.stamps.locate_store import describe_store  # noqa: PLC0415
    from featurestore.store import FeatureStore  # noqa: PLC0415
    from featurestore.values.table_names import local_name  # noqa: PLC0415

    used_store = store if store is not None else FeatureStore()
    try:
        loaded = tables.load(used_store.catalog, local_name(table, used_store.settings.catalog_name))
        chosen = loaded.snapshot_id
        if snapshot_id is not None:
            chosen = _find_snapshot(used_store, loaded, snapshot_id)
        text = None if chosen is None else str(chosen)
        facts = {"table": loaded.name, "uuid": loaded.uuid, "snapshot_id": text, **place_of(describe_store(used_store.settings))}
        total = "0" if chosen is None else tables.summary(loaded, chosen).get("total-records", "")
        columns = {field.name: str(field.type) for field in tables.arrow_schema(loaded, chosen)}
        return SnapshotSource(facts, int(total) if total.isdigit() else None, columns)
    finally:
        if store is None:
            used_store.close()


def _find_snapshot(store: "FeatureStore", table: "Table", named: int | str) -> int | None:
    """The snapshot of an id, or of a tag as it is, or with its @."""
    # As in `_open`.
    from featurestore.models.stamps.store_access import runtime_of  # noqa: PLC0415
    from featurestore.records import named_versions  # noqa: PLC0415

    try:
        return named_versions.snapshot_id(runtime_of(store), table, str(named))
    except NotFound as error:
        if not str(named).isdigit():
            message = f"{table.name}: {named!r} is not a snapshot id, which is a number, nor a tag"
            raise RequestError(message, field="snapshot_id") from error
        raise


def place_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """The facts about the place of a table: a store as `describe_store` describes it, and its catalog."""
    # As in `_open`.
    from featurestore.settings import CATALOG_NAME  # noqa: PLC0415

    return {"store": dict(described), "catalog": {"name": CATALOG_NAME, **described["catalog"]}}
