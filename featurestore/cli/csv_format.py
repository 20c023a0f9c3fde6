"""`--format FIELD=VALUE`: the format of a spine's CSV files, one field of `Csv` per option."""

from dataclasses import fields
from typing import Any

import click

from featurestore.dsl.csv_format import Csv
from featurestore.errors import near

_FIELDS = tuple(field.name for field in fields(Csv) if field.name != "types")
_TYPE = "types."

option = click.option(
    "--format",
    "written",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Format of the spine's CSV files, such as delimiter=; decimal=, date=%d.%m.%Y null=NA types.zip=string; repeatable.",
)


def parse_format(options: tuple[str, ...]) -> Csv | None:
    """The format; None without options. Raises: click.BadParameter for an unknown or repeated field."""
    if not options:
        return None
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    nulls: list[str] = []
    for option_text in options:
        name, equals, value = option_text.partition("=")
        column = name.removeprefix(_TYPE)
        target: dict[str, Any] = types if name.startswith(_TYPE) and column else values
        if not equals or (target is values and name not in _FIELDS):
            known = near(name, _FIELDS) if equals else ""
            raise click.BadParameter(
                f"{option_text!r} is not FIELD=VALUE with one of {', '.join(_FIELDS)} or types.COLUMN{known}", param_hint="--format"
            )
        if name == "null":
            nulls.append(value)
            continue
        key = column if target is types else name
        if key in target:
            raise click.BadParameter(f"{name} is given twice", param_hint="--format")
        target[key] = value
    if nulls:
        values["null"] = tuple(nulls)
    return Csv(**values, types=types)
