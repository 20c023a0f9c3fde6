"""`--format FIELD=VALUE`: how a spine's CSV files are written, a field of `Csv` at a time."""

from dataclasses import fields
from typing import Any

import click

from featurestore.dsl.csv import Csv
from featurestore.errors import near

_FIELDS = tuple(field.name for field in fields(Csv) if field.name != "types")
_TYPE = "types."

option = click.option(
    "--format",
    "written",
    multiple=True,
    metavar="FIELD=VALUE",
    help="How the spine's CSV files are written, such as delimiter=; decimal=, date=%d.%m.%Y null=NA types.zip=string; repeat it.",
)


def parsed(given: tuple[str, ...]) -> Csv | None:
    """The format that the options tell; None without any. Raises: click.BadParameter naming what is no field, and what is told twice."""
    if not given:
        return None
    told: dict[str, Any] = {}
    types: dict[str, str] = {}
    nulls: list[str] = []
    for one in given:
        name, equals, value = one.partition("=")
        column = name.removeprefix(_TYPE)
        held: dict[str, Any] = types if name.startswith(_TYPE) and column else told
        if not equals or (held is told and name not in _FIELDS):
            known = near(name, _FIELDS) if equals else ""
            raise click.BadParameter(
                f"{one!r} is not FIELD=VALUE with one of {', '.join(_FIELDS)} or types.COLUMN{known}", param_hint="--format"
            )
        if name == "null":
            nulls.append(value)
            continue
        key = column if held is types else name
        if key in held:
            raise click.BadParameter(f"{name} is there twice", param_hint="--format")
        held[key] = value
    if nulls:
        told["null"] = tuple(nulls)
    return Csv(**told, types=types)
