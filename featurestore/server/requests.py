"""What requests may say: typed, and nothing unknown let through."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.spines.grid import parse_grid
from featurestore.values.frames import is_query

MOST_ENTITIES = 10_000
"""Most entities or records of one request."""
MOST_ROWS = 100_000
"""Most rows of a spine in JSON; more come as a file."""
MOST_CELLS = 10_000_000
MOST_PARTS = 10_000
"""Most entries of any other list or object."""

SNAPSHOT_IDS = 1 << 63

Part = TypeVar("Part")
Items = Annotated[list[Part], Field(max_length=MOST_PARTS)]
Texts = Annotated[dict[str, str], Field(max_length=MOST_PARTS)]
Record = dict[str, Any]
Records = Annotated[list[Record], Field(max_length=MOST_ENTITIES)]


class Body(BaseModel):
    """A request body; a misspelt field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Words(Body):
    """What people read; changing it changes no version."""

    description: str = ""
    owner: str = ""
    tags: Texts = {}


class EntityBody(Words):
    """A thing that has features."""

    name: str
    keys: Items[str] | str


class CsvBody(Body):
    """How CSV files are written, where it is not with commas, `1234.5` and ISO 8601 times."""

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


class SourceBody(Words):
    """Rows with a time: exactly one of `table`, `path` and `sql`."""

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
    """One windowed aggregation; see the `agg` functions."""

    function: str
    column: str | None = None
    over: Items[str] | str
    where: str | None = None
    n: int | None = None
    q: float | None = None


class AggregationFeature(Body):
    """A feature that is an aggregation."""

    aggregation: Aggregation


class ExpressionFeature(Body):
    """A feature computed from other features of its view."""

    expression: str


class Check(Body):
    """A check of the rows of a run; it has a name of its own kind when none is given."""

    name: str | None = None
    severity: Literal["error", "warn"] = "error"


class ThatCheck(Check):
    """At least a share of the rows holds a condition in row SQL."""

    kind: Literal["that"]
    sql: str
    at_least: float = 1.0


class NotNullCheck(Check):
    """At least a share of the rows has a value of a feature."""

    kind: Literal["not_null"]
    feature: str
    at_least: float = 1.0


class RowsCheck(Check):
    """A run computes so many rows."""

    kind: Literal["rows"]
    at_least: int | None = None
    at_most: int | None = None


class FreshCheck(Check):
    """The source has an event at most `within` before the end of the run's interval."""

    kind: Literal["fresh"]
    within: str


AnyCheck = Annotated[ThatCheck | NotNullCheck | RowsCheck | FreshCheck, Field(discriminator="kind")]


class ViewBody(Words):
    """A view, whole: with its entity and its source. A feature that is a text is row SQL."""

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
    """Some (`names`) or all features of a view, as a service lists them."""

    view: ViewBody
    names: Items[str] | None = None
    alias: str | None = None
    keys: Texts = {}


class ServiceBody(Words):
    """A service, whole: with its views."""

    name: str
    features: Items[SelectionBody]
    request: Texts = {}
    derived: Texts = {}


class DefinitionsBody(Body):
    """Definitions as documents, as `featurestore.dsl.documents` writes them."""

    entities: Items[EntityBody] = []
    sources: Items[SourceBody] = []
    views: Items[ViewBody] = []
    services: Items[ServiceBody] = []


class PlanBody(Body):
    """Definitions to hold against what is applied."""

    definitions: DefinitionsBody


class ApplyBody(PlanBody):
    """Definitions to apply. With `base`, the one a plan told, only if nobody applied anything since."""

    base: str | None = None


class OnlineBody(Body):
    """Entities to look up, each its key columns and their values; `request` has one object for each, where the service asks for fields."""

    entities: Records
    request: Records | None = None

    def keys_told(self) -> int:
        """The keys of all objects of the document, if it has no others than these and none twice."""
        return len(self.model_fields_set) + sum(map(len, self.entities)) + sum(map(len, self.request or ()))


class GridBody(Body):
    """Every key that the service's feature tables hold, at each of the times start, start + every, ... up to end."""

    start: str
    end: str
    every: Annotated[str, Field(examples=["1d"])]


class SpineBody(Body):
    """Rows to join features with: exactly one of the four. A file is sent as multipart/form-data instead."""

    table: str | None = Field(None, description="an Iceberg table, `namespace.name`, or `namespace.name@snapshot`")
    sql: str | None = Field(None, description="one SELECT over Iceberg tables")
    rows: list[Record] | None = Field(None, max_length=MOST_ROWS, description="the rows themselves; times as ISO 8601")
    grid: GridBody | None = Field(None, description="no rows of one's own: keys by times, in the column `timestamp`")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.table, self.sql, self.rows, self.grid)) != 1:
            raise ValueError("a spine is exactly one of table, sql, rows and grid")
        return self

    def given(self) -> Any:
        """As the store takes it."""
        if self.grid is not None:
            return parse_grid(self.grid.start, self.grid.end, self.grid.every)
        if self.table is not None:
            return f"iceberg:{self.table}"
        return self.rows if self.rows is not None else self.sql

    @model_validator(mode="after")
    def _dense(self) -> Self:
        # Columns are made of rows, with a null wherever a row does not say one: few rows of many names would take gigabytes.
        names = {name for row in self.rows or () for name in row}
        if len(names) * len(self.rows or ()) > MOST_CELLS:
            raise ValueError(f"{len(self.rows or ())} rows of {len(names)} columns; send so many as a Parquet or Arrow file")
        return self

    @model_validator(mode="after")
    def _select(self) -> Self:
        # The store takes any other text for the path of a file, and callers have no business with the server's files.
        if self.sql is not None and not is_query(self.sql):
            raise ValueError("sql must be one SELECT")
        return self


class JoinFields(Body):
    """What to join with a spine, and how."""

    service: str
    timestamp: str = Field(description="the spine's column with each row's time")
    known: Literal["now", "then"] = Field(
        "now", description="`now`: the latest corrections; `then`: only what was known at each row's time"
    )
    snapshots: dict[str, str | int | None] | None = Field(
        None, max_length=MOST_PARTS, description="snapshot ids to pin, by feature table such as `orders_v1`"
    )

    def pins(self) -> dict[str, int | None] | None:
        """The snapshots as the store takes them."""
        if self.snapshots is None:
            return None
        return {table: None if snapshot is None else int(snapshot) for table, snapshot in self.snapshots.items()}

    @field_validator("snapshots")
    @classmethod
    def _numbers(cls, given: dict[str, str | int | None] | None) -> dict[str, str | int | None] | None:
        for table, snapshot in (given or {}).items():
            text = str(snapshot)
            if snapshot is not None and not (text.isascii() and text.isdigit() and int(text) < SNAPSHOT_IDS):
                raise ValueError(f"{table[:100]}: {text[:100]!r} is not a snapshot id")
        return given


class TrainingSetFields(JoinFields):
    """A training set without its spine."""

    label: str | None = Field(None, description="the spine's column to learn")
    name: str | None = Field(None, description="its name; the service's when left out")
    split: dict[str, float | str | None] | None = Field(
        None, max_length=MOST_PARTS, description="the share of each part, or the time at which it ends"
    )
    by: str | Items[str] | None = Field(None, description="the columns that shares go by; the service's keys when left out")

    def request(self, spine: Any) -> TrainingSetRequest:
        """The request with this spine. Raises: RequestError naming the field."""
        named = self.model_dump(include=set(TrainingSetFields.model_fields) - {"snapshots"})
        return TrainingSetRequest.of(spine=spine, snapshots=self.pins(), **named)


class JoinBody(JoinFields):
    """A join that is not stored."""

    spine: SpineBody


class TrainingSetBody(TrainingSetFields):
    """A training set to build."""

    spine: SpineBody


class MaterializationBody(Body):
    """Which views to bring up to date: all when no names are given. ISO 8601 times; see `FeatureStore.materialize`."""

    names: Items[str] | None = None
    start: str | None = None
    end: str | None = None


class MaintenanceBody(Body):
    """What to tidy: snapshots that nothing pins and files that nothing reaches, older than this; small files whatever their age.

    `fold_older_than` drops corrections superseded longer ago; left out, none.
    """

    older_than: Annotated[str, Field(examples=["7d"])] = "7d"
    fold_older_than: Annotated[str | None, Field(examples=["365d"])] = None
    dry_run: bool = False


class RebuildBody(Body):
    """Which training set to rebuild: its id, or the URI of a model that was trained on it."""

    id: str


class ComparisonBody(Body):
    """Two training sets, by id or by the URI of a model."""

    a: str
    b: str


class PublicationBody(Body):
    """Which views to publish: all when no names are given. `full` replaces all online rows of each table."""

    names: Items[str] | None = None
    full: bool = False


class VerificationBody(Body):
    """Which views to compare: all when no names are given. `sample` limits it to so many random rows of each table."""

    names: Items[str] | None = None
    sample: Annotated[int, Field(ge=1)] | None = None


class RepairBody(Body):
    """A dry run only reports which tables have missing files."""

    dry_run: bool = False


class Split(Body):
    """Rows as MLflow writes them in two parts."""

    columns: Items[str]
    data: Annotated[list[list[Any]], Field(max_length=MOST_ENTITIES)]
    index: Annotated[list[Any], Field(max_length=MOST_ENTITIES)] | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        for number, row in enumerate(self.data):
            if len(row) != len(self.columns):
                raise ValueError(f"data[{number}] has {len(row)} values for {len(self.columns)} columns")
        return self


class InvocationBody(Body):
    """Rows to predict for, in one of MLflow's two forms: keys and request fields, and features that override looked-up ones."""

    dataframe_records: Records | None = None
    dataframe_split: Split | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.dataframe_records is None) == (self.dataframe_split is None):
            raise ValueError("give exactly one of dataframe_records and dataframe_split")
        return self

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        if self.dataframe_split is None:
            return self.dataframe_records or []
        return [dict(zip(self.dataframe_split.columns, row, strict=True)) for row in self.dataframe_split.data]
