"""Checking what a source says of its files: where they are, and how they are written."""

import re
from collections.abc import Iterator, Mapping

from featurestore.dsl.csv import Csv
from featurestore.dsl.source import Source
from featurestore.dsl.types import sql_type
from featurestore.errors import brief, near

ENCODINGS = ("utf-8", "utf-16", "latin-1")
CSV_TYPES = ("boolean", "int", "bigint", "float", "double", "decimal(p,s)", "string", "date", "timestamp", "uuid")
_DIRECTIVE = re.compile(r"%-?([a-zA-Z%])")
_DIRECTIVES = frozenset("aAbBdjmyYHIpMSfgnzZ%")
_DATE_ONLY = frozenset("aAbBdjmyY%")

Found = Iterator[tuple[str, str]]
"""(field, message) of each problem."""


def path_problems(path: object) -> Found:
    """One path or pattern of files of a kind that can be read."""
    if not isinstance(path, str):
        yield "path", f"is {brief(path)}; give one path or pattern as text, such as 'data/*.csv'"
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        hint = "leave 'file://' out" if path.startswith("file://") else "register the files in an Iceberg table and name it with table="
        yield "path", f"{brief(path)} is an address; path= reads files of this machine: {hint}"
    elif not re.search(r"\.(parquet|csv|csv\.gz)$", path):
        yield "path", f"{brief(path)} must end in .parquet, .csv or .csv.gz"


def format_problems(source: Source) -> Found:
    """A format of CSV files that can be read in one way only."""
    written = source.format
    if not isinstance(written, Csv):
        yield "format", f"is {brief(written)}; give a Csv, such as format=Csv(delimiter=';', decimal=',')"
        return
    if not (isinstance(source.path, str) and source.path.endswith((".csv", ".csv.gz"))):
        yield "format", "says how CSV files are written; there is no path= that ends in .csv or .csv.gz"
    if fault := next((name for name in _TEXTS if not isinstance(getattr(written, name), str)), None):
        yield f"format.{fault}", f"is {brief(getattr(written, fault))}; give a text"
        return
    yield from _mark_problems(written)
    if written.encoding not in ENCODINGS:
        yield "format.encoding", f"{brief(written.encoding)} cannot be read; write the files as UTF-8, or as one of {', '.join(ENCODINGS)}"
    if not all(isinstance(text, str) for text in written.null):
        yield "format.null", f"is {brief(written.null)}; give the texts that mean NULL"
    for name, letters in (("date", _DATE_ONLY), ("timestamp", _DIRECTIVES)):
        if (form := getattr(written, name)) is not None:
            yield from _form_problems(f"format.{name}", form, letters)
    yield from _type_problems(written.types)


_TEXTS = ("delimiter", "quote", "escape", "encoding", "decimal", "thousands")


def _mark_problems(written: Csv) -> Found:
    if len(written.delimiter) != 1 or written.delimiter in "\r\n":
        yield "format.delimiter", f"{brief(written.delimiter)} is not one character"
    for name in ("quote", "escape", "thousands"):
        mark = getattr(written, name)
        if len(mark) > 1 or mark in ("\r", "\n"):
            yield f"format.{name}", f"{brief(mark)} is not one character, or an empty text for none"
    if written.decimal not in (".", ","):
        yield "format.decimal", f"{brief(written.decimal)} is neither '.' nor ','"
    if written.thousands and (written.thousands == written.decimal or written.thousands in "+-0123456789eE"):
        yield "format.thousands", f"{brief(written.thousands)} stands for something else in a number"
    if written.quote and written.quote == written.delimiter:
        yield "format.quote", "is the delimiter"


def _form_problems(field: str, form: object, letters: frozenset[str]) -> Found:
    used = _DIRECTIVE.findall(form) if isinstance(form, str) else []
    if not used:
        yield field, f"{brief(form)} says of nothing how it is written; use letters of strptime, such as %d.%m.%Y"
    elif unknown := [letter for letter in used if letter not in letters]:
        yield field, f"%{unknown[0]} in {brief(form)} is none of {' '.join('%' + letter for letter in sorted(letters))}"
    elif not {"y", "Y"} & set(used):
        yield field, f"{brief(form)} has no year"


def _type_problems(types: object) -> Found:
    if not isinstance(types, Mapping):
        yield "format.types", f"is {brief(types)}; give a dict of column and type"
        return
    for name, kind in types.items():
        try:
            fits = sql_type(kind) != "BLOB"
        except ValueError:
            fits = False
        if not fits:
            yield f"format.types.{name}", f"{brief(kind)} is no type of a CSV column{near(str(kind), CSV_TYPES)}"
