"""How the CSV files of a source are written, where it is not the plain way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.dsl.listed import listed


@dataclass(frozen=True)
class Csv:
    """The format of CSV files. What is not given is as in most files: commas, double quotes, UTF-8, `1234.5`, ISO 8601 times.

    `null` lists the texts that mean NULL. `date` and `timestamp` say how dates and times are written, in the letters of
    strptime such as `%d.%m.%Y`; they are then written in no other way. `types` maps columns to types; those of the others
    are inferred from all the files' rows.
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
        object.__setattr__(self, "null", listed(self.null))
