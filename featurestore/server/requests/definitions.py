"""Definitions as JSON: entities, sources, views and services."""

from typing import Annotated

from pydantic import Field

from featurestore.server.requests.body import MOST_PARTS, Body, Items, Texts
from featurestore.server.requests.checks import AnyCheck


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
    """A source of rows with an event time. Give exactly one of `table`, `path`, `sql`, `url` with the `table` of a database, and
    `schema` with the columns and types of pushed rows.
    """

    name: str
    table: str | None = None
    path: str | None = None
    sql: str | None = None
    timestamp: str = ""
    created: str | None = None
    columns: Texts = {}
    where: str | None = None
    format: CsvBody | None = None
    url: str | None = None
    watermark: str | None = None
    id: str | None = None
    overlap: str | None = None
    zone: str | None = None
    partitions: dict[str, str] = {}
    keep: bool = False
    pushed_columns: dict[str, str] | None = Field(default=None, alias="schema")


class Aggregation(Body):
    """A windowed aggregation; see the `agg` functions."""

    function: str
    column: str | None = None
    over: Items[str] | str | None = None
    where: str | None = None
    n: int | None = None
    q: float | None = None
    last: Items[int] | int | None = None


class AggregationFeature(Body):
    """A feature computed by an aggregation."""

    aggregation: Aggregation


class ExpressionFeature(Body):
    """A feature computed from other features of the same view."""

    expression: str


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
    limit: int | None = None
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


class GrantBody(Body):
    """A privilege on an object, for a user or group."""

    privilege: Annotated[str, Field(max_length=1000)]
    on: Annotated[str, Field(max_length=1000)]
    to: Annotated[str, Field(max_length=1000)]


class RuleBody(Body):
    """A mask or a row filter, and the groups that it is not for."""

    sql: str
    unless: Items[str] = []


class PolicyBody(Body):
    """The policy of a table with its namespace, or of a view."""

    table: Annotated[str, Field(max_length=1000)]
    masks: Annotated[dict[str, RuleBody], Field(max_length=MOST_PARTS)] = {}
    rows: RuleBody | None = None
    declassify: Items[str] = []
    declassify_rows: bool = False


class DefinitionsBody(Body):
    """Definitions as JSON, in the format of `featurestore.dsl.documents`."""

    entities: Items[EntityBody] = []
    sources: Items[SourceBody] = []
    views: Items[ViewBody] = []
    services: Items[ServiceBody] = []
    grants: Items[GrantBody] = []
    policies: Items[PolicyBody] = []


class PlanBody(Body):
    """Definitions to compare with the applied ones."""

    definitions: DefinitionsBody


class ApplyBody(PlanBody):
    """Definitions to apply. With the `base` of a plan, they are applied only if nothing was applied since that plan.

    `commit` is the git commit of their files, with `-dirty` if these had other changes.
    """

    base: str | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}(-dirty)?$")] | None = None
