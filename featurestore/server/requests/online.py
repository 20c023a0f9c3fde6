"""Entities to look up, and rows to predict for."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from featurestore.server.requests.body import MOST_PARTS, Body, Items, Records


class OnlineBody(Body):
    """Entities to look up, each an object of key columns and values.

    `request` has one object of request fields for each entity, if the service has request fields.
    """

    entities: Records
    request: Records | None = None

    def count_keys(self) -> int:
        """The number of keys in all objects of the JSON document, provided that no value is an object and no key is repeated."""
        return len(self.model_fields_set) + sum(map(len, self.entities)) + sum(map(len, self.request or ()))


class Split(Body):
    """Rows in MLflow's `dataframe_split` format: column names and lists of values."""

    columns: Items[str]
    data: list[list[Any]]
    index: list[Any] | None = None

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
