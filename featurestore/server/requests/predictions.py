"""Rows to predict for, in the forms of MLflow's scoring protocol and as tensors of the Open Inference Protocol."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from featurestore.server.requests.body import MOST_PARTS, Body, Items, Record, Records
from featurestore.server.requests.tensors import DATATYPES, check_values, flat_values
from featurestore.values.coercion import quote_value
from featurestore.values.row_places import RECORDS, RowPlaces, columns_of, rows_of

NamesOf = Callable[[str, int], Sequence[str]]
"""The names of the columns of rows without names in a field, by the number of their values. Raises: RequestError naming the field."""
Name = Annotated[str, Field(min_length=1, max_length=2000)]
Parameters = Annotated[dict[str, Any], Field(max_length=MOST_PARTS)]
MOST_DIMENSIONS = 2


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
        repeated = next((name for number, name in enumerate(self.columns) if name in self.columns[:number]), None)
        if repeated is not None:
            raise ValueError(f"columns: {repeated[:100]!r} is given twice")
        return self


class InvocationBody(Body):
    """Rows to predict for, in exactly one of MLflow's formats: keys, request fields, and features that override looked-up ones.

    `instances` and `inputs` are lists of objects, or of lists of values in the order of the columns of the model (keys and request fields,
    or these and all features); `inputs` may also be an object with a list of values for each column.
    """

    dataframe_records: Records | None = None
    dataframe_split: Split | None = None
    instances: list[Any] | None = None
    inputs: Any = None
    params: Annotated[dict[str, Any], Field(max_length=MOST_PARTS, description="parameters of the model's signature")] | None = None

    @model_validator(mode="after")
    def _check_one_format(self) -> Self:
        formats = (self.dataframe_records, self.dataframe_split, self.instances, self.inputs)
        if sum(rows is not None for rows in formats) != 1:
            raise ValueError("give exactly one of dataframe_records, dataframe_split, instances and inputs")
        if self.instances is not None:
            _check_rows(self.instances, "instances")
        if isinstance(self.inputs, list):
            _check_rows(self.inputs, "inputs")
        elif isinstance(self.inputs, dict):
            _check_columns(self.inputs)
        elif self.inputs is not None:
            raise ValueError("inputs: must be a list of rows, or an object with a list of values for each column")
        return self

    def count_keys(self) -> int:
        """As `OnlineBody.count_keys`; a number that no document has for the other formats."""
        return -1 if self.dataframe_records is None else len(self.model_fields_set) + sum(map(len, self.dataframe_records))

    @property
    def row_count(self) -> int:
        """The number of rows."""
        if self.dataframe_split is not None:
            return len(self.dataframe_split.data)
        if isinstance(self.inputs, dict):
            return len(next(iter(self.inputs.values()), ()))
        return len(next(rows for rows in (self.dataframe_records, self.instances, self.inputs) if rows is not None))

    @property
    def places(self) -> RowPlaces:
        """The places of the rows and their fields, as errors name them; `records` in the form that the clients of this package send."""
        if self.dataframe_records is not None:
            return RECORDS
        if self.dataframe_split is not None:
            return rows_of("dataframe_split.data")
        return columns_of("inputs") if isinstance(self.inputs, dict) else rows_of("instances" if self.inputs is None else "inputs")

    def rows(self, names_of: NamesOf) -> list[Record]:
        """The rows as dicts. `names_of` is called for rows without names only."""
        if self.dataframe_split is not None:
            return [dict(zip(self.dataframe_split.columns, row, strict=True)) for row in self.dataframe_split.data]
        if self.dataframe_records is not None:
            return self.dataframe_records
        if isinstance(self.inputs, dict):
            return [dict(zip(self.inputs, row, strict=True)) for row in zip(*self.inputs.values(), strict=True)]
        field, rows = ("instances", self.instances) if self.instances is not None else ("inputs", self.inputs)
        if not rows or isinstance(rows[0], dict):
            return rows
        if not isinstance(rows[0], list):
            (name,) = names_of(field, 1)
            return [{name: value} for value in rows]
        names = names_of(field, len(rows[0]))
        return [dict(zip(names, row, strict=True)) for row in rows]


class Tensor(Body):
    """A column as a tensor: shape [n], or [n, 1], or [n, k] for a feature that is a list of k values. `data` is flat or nested."""

    name: Name
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_DIMENSIONS)]
    datatype: Annotated[str, Field(max_length=20, description=", ".join(DATATYPES))]
    data: list[Any]
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self._check_data()
        except ValueError as error:
            raise ValueError(f"tensor {self.name[:100]!r}: {error}") from error
        return self

    def _check_data(self) -> None:
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype: {self.datatype!r} is none of {', '.join(DATATYPES)}")
        if self.shape[1:] == [0]:
            raise ValueError("shape: its second number must be 1 or more")
        check_values(self.datatype, flat_values(self.data, self.shape))

    def values(self) -> list[Any]:
        """A value for each row, which is a list for a shape [n, k]."""
        values, (_, width) = flat_values(self.data, self.shape), (*self.shape, 1)[:2]
        return values if width == 1 else [values[start : start + width] for start in range(0, len(values), width)]


class RequestedOutput(Body):
    """The name of an output tensor to send; the others are left out."""

    name: Name
    parameters: Parameters | None = None


class InferenceBody(Body):
    """A request of the Open Inference Protocol: a tensor for each key and request field, and for features that override looked-up ones."""

    id: Annotated[str, Field(description="returned as the request id, if it has 1 to 64 letters, digits and ._:-")] | None = None
    parameters: Annotated[Parameters, Field(description="parameters of the model's signature")] | None = None
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=MOST_PARTS)]
    outputs: Annotated[list[RequestedOutput], Field(min_length=1, max_length=MOST_PARTS)] | None = None

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        _refuse_repeated(self.inputs, "inputs")
        _refuse_repeated(self.outputs or (), "outputs")
        first = self.inputs[0]
        for number, tensor in enumerate(self.inputs):
            if tensor.shape[0] != first.shape[0]:
                raise ValueError(f"inputs[{number}]: shape {tensor.shape} is of {tensor.shape[0]} rows, and inputs[0] of {first.shape[0]}")
        return self

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self.inputs[0].shape[0]

    @property
    def places(self) -> RowPlaces:
        """The places of the values of tensors, as errors name them."""
        return replace(columns_of("inputs"), params="parameters")

    def rows(self) -> list[Record]:
        """The rows as dicts."""
        names = [tensor.name for tensor in self.inputs]
        return [dict(zip(names, row, strict=True)) for row in zip(*(tensor.values() for tensor in self.inputs), strict=True)]


def _refuse_repeated(tensors: Sequence[Tensor | RequestedOutput], field: str) -> None:
    """Refuse a name that is given twice. Raises: ValueError naming the place."""
    seen = set[str]()
    for number, tensor in enumerate(tensors):
        if tensor.name in seen:
            raise ValueError(f"{field}[{number}]: {tensor.name[:100]!r} is given twice")
        seen.add(tensor.name)


def _check_rows(rows: Sequence[Any], field: str) -> None:
    """Check that rows are all objects, all lists of one length, or all single values. Raises: ValueError naming the row."""
    if not rows:
        return
    first = rows[0]
    for number, row in _find_other_forms(rows, dict if isinstance(first, dict) else list if isinstance(first, list) else None):
        raise ValueError(f"{field}[{number}] is {_describe_form(row)}, and {field}[0] is {_describe_form(first)}; send rows of one form")
    if isinstance(first, list):
        for number, row in enumerate(rows):
            if len(row) != len(first):
                raise ValueError(f"{field}[{number}] has {len(row)} values, and {field}[0] has {len(first)}")


def _find_other_forms(rows: Sequence[Any], form: type | None) -> Iterator[tuple[int, Any]]:
    """The rows that are not of this form; None: a single value."""
    for number, row in enumerate(rows):
        if isinstance(row, dict | list) if form is None else not isinstance(row, form):
            yield number, row


def _describe_form(row: Any) -> str:
    return "an object" if isinstance(row, dict) else "a list" if isinstance(row, list) else quote_value(row)


def _check_columns(columns: dict[str, Any]) -> None:
    """Check that columns are lists of one length. Raises: ValueError naming the column."""
    if not columns:
        raise ValueError("inputs: is an object without columns")
    first = next(iter(columns))
    for name, values in columns.items():
        if not isinstance(values, list):
            raise ValueError(f"inputs.{name[:100]}: is {_describe_form(values)}, and must be a list with a value for each row")
        if len(values) != len(columns[first]):
            raise ValueError(f"inputs.{name[:100]}: has {len(values)} values, and inputs.{first[:100]} has {len(columns[first])}")
