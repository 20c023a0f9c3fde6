"""Typed request bodies; unknown fields are rejected."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.spines.grid import parse_grid
from featurestore.values.frames import is_query

MOST_ENTITIES = 10_000
"""Maximum number of entities or records in one request."""
MOST_ROWS = 100_000
"""Maximum number of rows of a JSON spine; larger spines are uploaded as files."""
MOST_CELLS = 10_000_000
"""Maximum rows times columns of a JSON spine."""
MOST_PARTS = 10_000
"""Maximum number of entries in any other list or object."""

SNAPSHOT_IDS = 1 << 63
"""Exclusive upper bound of snapshot ids, which are signed 64-bit integers."""

Part = TypeVar("Part")
Items = Annotated[list[Part], Field(max_length=MOST_PARTS)]
Texts = Annotated[dict[str, str], Field(max_length=MOST_PARTS)]
Record = dict[str, Any]
Records = Annotated[list[Record], Field(max_length=MOST_ENTITIES)]


class Body(BaseModel):
    """A request body. An unknown field is an error, so that a misspelled one is not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Metadata(Body):
    """Descriptive fields; changing them does not create a new version."""

    description: str = ""
    owner: str = ""
    tags: Texts = {}


class EntityBody(Metadata):
    """An entity: what features describe, such as a customer, with its key columns."""

    name: str
    keys: Items[str] | str


class CsvBody(Body):
    """The format of CSV files. The defaults are commas, numbers like `1234.5` and ISO 8601 times."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    null: list[str] = [""]
    date: str | None = None
    timestamp: str | None = None
    types: dict[str, str] = {}


class SourceBody(Metadata):
    """A source of rows with an event time. Give exactly one of `table`, `path` and `sql`."""

    name: str
    table: str | None = None
    path: str | None = None
    sql: str | None = None
    timestamp: str = ""
    created: str | None = None
    columns: Texts = {}
    where: str | None = None
    format: CsvBody | None = None


class Aggregation(Body):
    """A windowed aggregation; see the `agg` functions."""

    function: str
    column: str | None = None
    over: Items[str] | str
    where: str | None = None
    n: int | None = None
    q: float | None = None


class AggregationFeature(Body):
    """A feature computed by an aggregation."""

    aggregation: Aggregation


class ExpressionFeature(Body):
    """A feature computed from other features of the same view."""

    expression: str


class Check(Body):
    """A data quality check that every run performs. `name` defaults to one made from the kind of check."""

    name: str | None = None
    severity: Literal["error", "warn"] = "error"


class ThatCheck(Check):
    """At least the fraction `at_least` of the rows satisfies the row SQL condition `sql`."""

    kind: Literal["that"]
    sql: str
    at_least: float = 1.0


class NotNullCheck(Check):
    """At least the fraction `at_least` of the rows has a value for `feature`."""

    kind: Literal["not_null"]
    feature: str
    at_least: float = 1.0


class RowsCheck(Check):
    """A run computes between `at_least` and `at_most` rows."""

    kind: Literal["rows"]
    at_least: int | None = None
    at_most: int | None = None


class FreshCheck(Check):
    """The newest event of the source is at most `within` older than the end of the run's interval."""

    kind: Literal["fresh"]
    within: str


AnyCheck = Annotated[ThatCheck | NotNullCheck | RowsCheck | FreshCheck, Field(discriminator="kind")]


class ViewBody(Metadata):
    """A complete view, including its entity and source. A feature given as a string is row SQL."""

    name: str
    entity: EntityBody
    source: SourceBody
    features: Annotated[dict[str, str | AggregationFeature | ExpressionFeature], Field(max_length=MOST_PARTS)]
    every: str | None = None
    ttl: str | int | None = None
    checks: Items[AnyCheck] = []
    stale_after: str | int | None = None
    stale: str = "value"


class SelectionBody(Body):
    """The features that a service takes from a view: those in `names`, or all of them."""

    view: ViewBody
    names: Items[str] | None = None
    alias: str | None = None
    keys: Texts = {}


class ServiceBody(Metadata):
    """A complete service, including its views."""

    name: str
    features: Items[SelectionBody]
    request: Texts = {}
    derived: Texts = {}


class DefinitionsBody(Body):
    """Definitions as JSON, in the format of `featurestore.dsl.documents`."""

    entities: Items[EntityBody] = []
    sources: Items[SourceBody] = []
    views: Items[ViewBody] = []
    services: Items[ServiceBody] = []


class PlanBody(Body):
    """Definitions to compare with the applied ones."""

    definitions: DefinitionsBody


class ApplyBody(PlanBody):
    """Definitions to apply. With the `base` of a plan, they are applied only if nothing was applied since that plan."""

    base: str | None = None


class OnlineBody(Body):
    """Entities to look up, each an object of key columns and values.

    `request` has one object of request fields for each entity, if the service has request fields.
    """

    entities: Records
    request: Records | None = None

    def count_keys(self) -> int:
        """The number of keys in all objects of the JSON document, provided that no value is an object and no key is repeated."""
        return len(self.model_fields_set) + sum(map(len, self.entities)) + sum(map(len, self.request or ()))


class GridBody(Body):
    """A spine of all keys in the service's feature tables, at each of the times start, start + every, ... up to end."""

    start: str
    end: str
    every: Annotated[str, Field(examples=["1d"])]


class SpineBody(Body):
    """The rows to join features to. Give exactly one of the four fields; upload a file as multipart/form-data instead."""

    table: str | None = Field(None, description="an Iceberg table, `namespace.name`, or `namespace.name@snapshot`")
    sql: str | None = Field(None, description="one SELECT over Iceberg tables")
    rows: list[Record] | None = Field(None, max_length=MOST_ROWS, description="the rows themselves; times as ISO 8601")
    grid: GridBody | None = Field(None, description="every key at regular times, which are in the column `timestamp`")

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        if sum(part is not None for part in (self.table, self.sql, self.rows, self.grid)) != 1:
            raise ValueError("a spine is exactly one of table, sql, rows and grid")
        return self

    def to_spine(self) -> Any:
        """The spine as an argument of the store's methods."""
        if self.grid is not None:
            return parse_grid(self.grid.start, self.grid.end, self.grid.every)
        if self.table is not None:
            return f"iceberg:{self.table}"
        return self.rows if self.rows is not None else self.sql

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        # Every row becomes a value in every column, NULL where the row has none: a few rows with many names would take gigabytes.
        names = {name for row in self.rows or () for name in row}
        if len(names) * len(self.rows or ()) > MOST_CELLS:
            raise ValueError(f"{len(self.rows or ())} rows of {len(names)} columns; send so many as a Parquet or Arrow file")
        return self

    @model_validator(mode="after")
    def _check_select(self) -> Self:
        # The store would read any other string as a file path, and callers must not read the server's files.
        if self.sql is not None and not is_query(self.sql):
            raise ValueError("sql must be one SELECT")
        return self


class JoinFields(Body):
    """Which features to join to a spine, and as of when."""

    service: str
    timestamp: str = Field(description="the spine column with the time of each row")
    known: Literal["now", "then"] = Field(
        "now", description="`now`: with all later corrections; `then`: only what was known at the time of each row"
    )
    snapshots: dict[str, str | int | None] | None = Field(
        None, max_length=MOST_PARTS, description="snapshot ids to pin, by feature table such as `orders_v1`"
    )

    def snapshot_ids(self) -> dict[str, int | None] | None:
        """The snapshot id by feature table; None if no snapshots are pinned."""
        if self.snapshots is None:
            return None
        return {table: None if snapshot is None else int(snapshot) for table, snapshot in self.snapshots.items()}

    @field_validator("snapshots")
    @classmethod
    def _check_snapshot_ids(cls, snapshots: dict[str, str | int | None] | None) -> dict[str, str | int | None] | None:
        for table, snapshot in (snapshots or {}).items():
            text = str(snapshot)
            if snapshot is not None and not (text.isascii() and text.isdigit() and int(text) < SNAPSHOT_IDS):
                raise ValueError(f"{table[:100]}: {text[:100]!r} is not a snapshot id")
        return snapshots


class TrainingSetFields(JoinFields):
    """A training set without its spine."""

    label: str | None = Field(None, description="the spine column to predict")
    name: str | None = Field(None, description="its name; defaults to the name of the service")
    split: dict[str, float | str | None] | None = Field(
        None, max_length=MOST_PARTS, description="by part of the split, its fraction of the rows or the time at which it ends"
    )
    by: str | Items[str] | None = Field(
        None, description="rows with equal values in these columns go to the same part; defaults to the keys of the service"
    )

    def request(self, spine: Any) -> TrainingSetRequest:
        """The training set request for a spine. Raises: RequestError naming the field."""
        arguments = self.model_dump(include=set(TrainingSetFields.model_fields) - {"snapshots"})
        return TrainingSetRequest.of(spine=spine, snapshots=self.snapshot_ids(), **arguments)


class JoinBody(JoinFields):
    """A point-in-time join whose result is not stored."""

    spine: SpineBody


class TrainingSetBody(TrainingSetFields):
    """A training set to build."""

    spine: SpineBody


class MaterializationBody(Body):
    """Which views to materialize, by default all, and for which interval of ISO 8601 times; see `FeatureStore.materialize`."""

    names: Items[str] | None = None
    start: str | None = None
    end: str | None = None


class MaintenanceBody(Body):
    """Options of table maintenance.

    Snapshots that nothing pins and orphan files are removed if they are older than `older_than`; small files are compacted at any age.
    `fold_older_than` also drops row versions that were superseded longer ago; by default none are dropped.
    """

    older_than: Annotated[str, Field(examples=["7d"])] = "7d"
    fold_older_than: Annotated[str | None, Field(examples=["365d"])] = None
    dry_run: bool = False


class RebuildBody(Body):
    """The training set to rebuild: its id, or the URI of a model that was trained on it."""

    id: str


class ComparisonBody(Body):
    """Two training sets to compare, each given by its id or by the URI of a model that was trained on it."""

    a: str
    b: str


class PublicationBody(Body):
    """Which views to publish, by default all. `full` replaces all online rows of each table."""

    names: Items[str] | None = None
    full: bool = False


class VerificationBody(Body):
    """Which views to verify online, by default all. `sample` limits the comparison to that many random rows of each table."""

    names: Items[str] | None = None
    sample: Annotated[int, Field(ge=1)] | None = None


class RepairBody(Body):
    """Options of a repair. With `dry_run`, tables with missing files are only reported."""

    dry_run: bool = False


class Split(Body):
    """Rows in MLflow's `dataframe_split` format: column names and lists of values."""

    columns: Items[str]
    data: Annotated[list[list[Any]], Field(max_length=MOST_ENTITIES)]
    index: Annotated[list[Any], Field(max_length=MOST_ENTITIES)] | None = None

    @model_validator(mode="after")
    def _check_row_lengths(self) -> Self:
        for number, row in enumerate(self.data):
            if len(row) != len(self.columns):
                raise ValueError(f"data[{number}] has {len(row)} values for {len(self.columns)} columns")
        return self


class InvocationBody(Body):
    """Rows to predict for, in one of two MLflow formats: keys, request fields, and features that override looked-up ones."""

    dataframe_records: Records | None = None
    dataframe_split: Split | None = None
    params: Annotated[dict[str, Any], Field(max_length=MOST_PARTS, description="parameters of the model's signature")] | None = None

    @model_validator(mode="after")
    def _check_one_format(self) -> Self:
        if (self.dataframe_records is None) == (self.dataframe_split is None):
            raise ValueError("give exactly one of dataframe_records and dataframe_split")
        return self

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        if self.dataframe_split is None:
            return self.dataframe_records or []
        return [dict(zip(self.dataframe_split.columns, row, strict=True)) for row in self.dataframe_split.data]
