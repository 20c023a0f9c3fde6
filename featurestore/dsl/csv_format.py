"""The format of a source's CSV files, if it is not the default."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.dsl.tuples import as_tuple


@dataclass(frozen=True)
class Csv:
    """The format of CSV files. Defaults: commas, double quotes, UTF-8, `1234.5`, ISO 8601 times.

    `null` lists the texts that mean NULL. `date` and `timestamp` are strptime patterns such as `%d.%m.%Y`; other formats are
    then not accepted. `types` maps columns to types; the types of other columns are inferred from all rows of all files.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    null: tuple[str, ...] = ("",)
    date: str | None = None
    timestamp: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "null", as_tuple(self.null))
