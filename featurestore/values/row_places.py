"""How a caller names the rows of a request and their fields, for messages about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RowPlaces:
    """The places of rows and of their fields, as texts to format: `records[{row}]`, and `records[{row}].{name}`; of `params` the name.

    `numbers` are those of the rows in the request, of which these rows are a part; None: the rows are all of it. `first` is the number of
    the first row of a batch.
    """

    row: str
    field: str
    numbers: Sequence[int] | None = None
    first: int = 0
    params: str = "params"

    def of_row(self, row: int) -> str:
        """The place of a row; that of all rows where the request has columns."""
        return self.row.format(row=self.number(row))

    def of_field(self, row: int, name: str) -> str:
        """The place of a field in a row."""
        return self.field.format(row=self.number(row), name=name)

    def part(self, numbers: Sequence[int]) -> "RowPlaces":
        """The places of a part of the rows."""
        return replace(self, numbers=numbers)

    def number(self, row: int) -> int:
        """The number of a row in the request or the frame."""
        return self.first + (row if self.numbers is None else self.numbers[row])


def rows_of(field: str) -> RowPlaces:
    """The places of rows in a list of this name: `records[3].basket`."""
    return RowPlaces(f"{field}[{{row}}]", f"{field}[{{row}}].{{name}}")


def columns_of(field: str) -> RowPlaces:
    """The places of rows in columns under this name: `inputs.basket[3]`."""
    return RowPlaces(field, f"{field}.{{name}}[{{row}}]")


def frame_of(name: str, first: int = 0) -> RowPlaces:
    """The places of rows in a frame, or in a batch of one, with the number of its first row: `row 3 of the spine, column 'basket'`."""
    return RowPlaces(f"row {{row}} of {name}", f"row {{row}} of {name}, column '{{name}}'", first=first)


RECORDS = rows_of("records")
