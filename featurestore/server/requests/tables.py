"""Tables to create and to write by key, and training sets of feature lookups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from featurestore.dsl.lookup import FeatureLookup
from featurestore.server.requests.body import MOST_PARTS, Body, Items, Record, Texts
from featurestore.server.requests.spines import MOST_ROWS, SpineBody


class TableWords(Body):
    """What a table is called and described as."""

    description: str = ""
    tags: Texts = Field(default_factory=dict)


class TableBody(TableWords):
    """A table to create; if it exists, the columns that it lacks are added."""

    name: str
    keys: str | Items[str]
    timestamp: str | None = Field(None, description="the column with the time from which a row holds; by default the time of writing")
    columns: Texts = Field(description="columns and their types, such as `long`, `double`, `string` or `double[]`", alias="schema")


class WriteFields(Body):
    """Rows for a table, without the rows."""

    table: str
    mode: Literal["merge", "append", "overwrite"] = "merge"
    run_id: str | None = Field(None, description="a second write with the same id adds nothing")


@dataclass(frozen=True)
class _Rows:
    rows: Sequence[Record]

    def to_spine(self) -> list[Record]:
        return list(self.rows)


class WriteBody(WriteFields):
    """Rows to write; upload a file as multipart/form-data instead for many."""

    rows: list[Record] = Field(max_length=MOST_ROWS, description="the rows; times as ISO 8601")

    @property
    def spine(self) -> _Rows:
        """The rows, as bodies with a spine have them."""
        return _Rows(self.rows)


class SourceWriteFields(Body):
    """Rows for a source with a schema, without the rows."""

    source: str
    mode: Literal["append", "merge"] = "append"


class SourceWriteBody(SourceWriteFields):
    """Rows to write; upload a file as multipart/form-data instead for many."""

    rows: list[Record] = Field(max_length=MOST_ROWS, description="the rows; times as ISO 8601")

    @property
    def spine(self) -> _Rows:
        """The rows, as bodies with a spine have them."""
        return _Rows(self.rows)


class LookupBody(Body):
    """Features of a table, looked up by columns of the frame; see `FeatureLookup`."""

    table: str
    lookup_key: str | Items[str] | Texts
    feature_names: str | Items[str] | None = None
    rename: Texts | None = None
    timestamp_lookup_key: str | None = None
    lookback: str | None = Field(None, examples=["30d"])
    default: Annotated[dict[str, str | int | float | bool], Field(max_length=MOST_PARTS)] | None = None

    def to_lookup(self) -> FeatureLookup:
        """The lookup as an argument of the store's methods."""
        return FeatureLookup(**self.model_dump())


class LookupFields(Body):
    """A training set of feature lookups, without its rows."""

    feature_lookups: Annotated[list[LookupBody], Field(max_length=100)]
    label: str | None = None
    exclude_columns: str | Items[str] | None = Field(None, description="columns that are not inputs of a model")
    timestamp: str | None = Field(None, description="the column with the time as of which features are looked up; by default now")
    name: str | None = None
    known: Literal["now", "then"] = "now"
    split: dict[str, float | str | None] | None = Field(None, max_length=MOST_PARTS)
    by: str | Items[str] | None = None


class LookupTrainingSetBody(LookupFields):
    """A training set of feature lookups."""

    spine: SpineBody
