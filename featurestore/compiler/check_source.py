"""Check a source's files: path and format."""

import re
from collections.abc import Iterator, Mapping

from featurestore.dsl.csv_format import Csv
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, Owner, problems_at
from featurestore.dsl.source import Source, is_address
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.errors import brief, near
from featurestore.redaction import without_secrets

SCHEMES = ("s3", "gs", "abfs", "abfss", "az", "http", "https")
AZURE = ("abfs", "abfss")
"""Schemes in which a name before the server is that of a container."""
PARTITION_TYPES = ("bigint", "date", "string")
ENCODINGS = ("utf-8", "utf-16", "latin-1")
CSV_TYPES = ("boolean", "int", "bigint", "float", "double", "decimal(p,s)", "string", "date", "timestamp", "uuid")
_DIRECTIVE = re.compile(r"%-?([a-zA-Z%])")
_DIRECTIVES = frozenset("aAbBdjmyYHIpMSfgnzZ%")
_DATE_ONLY = frozenset("aAbBdjmyY%")


def file_problems(source: Source) -> Iterator[FieldProblem]:
    """Check the path and the CSV format of a source, if it has them."""
    owner = owner_of(source)
    if source.path is not None:
        yield from problems_at(owner, "path", _path_faults(source.path))
    if source.format is not None:
        yield from format_problems(source)
    yield from problems_at(owner, "partitions", _partition_faults(source))
    if not isinstance(source.keep, bool):
        yield FieldProblem(owner, "keep", f"is {brief(source.keep)}; give True or False")
    elif source.keep and source.path is None:
        yield FieldProblem(owner, "keep", "keeps a copy of the rows of files, and there is no path=")


def _partition_faults(source: Source) -> Iterator[str]:
    if not isinstance(source.partitions, Mapping):
        yield f"is {brief(source.partitions)}; give a dict of the columns in folder names and their types"
        return
    if source.partitions and source.path is None:
        yield "declares types of columns in folder names, and there is no path="
    for name, type_name in source.partitions.items():
        if type_name not in PARTITION_TYPES:
            yield f"{brief(type_name)} of {brief(name)} is no type of a folder's column; use one of {', '.join(PARTITION_TYPES)}"


def format_problems(source: Source) -> Iterator[FieldProblem]:
    """Check that a CSV format is valid and unambiguous."""
    owner, csv = owner_of(source), source.format
    if not isinstance(csv, Csv):
        yield FieldProblem(owner, "format", f"is {brief(csv)}; give a Csv, such as format=Csv(delimiter=';', decimal=',')")
        return
    if not (isinstance(source.path, str) and source.path.endswith((".csv", ".csv.gz"))):
        yield FieldProblem(owner, "format", "says how CSV files are written; there is no path= that ends in .csv or .csv.gz")
    if fault := next((name for name in _TEXTS if not isinstance(getattr(csv, name), str)), None):
        yield FieldProblem(owner, f"format.{fault}", f"is {brief(getattr(csv, fault))}; give a text")
        return
    yield from _character_problems(owner, csv)
    if csv.encoding not in ENCODINGS:
        message = f"{brief(csv.encoding)} cannot be read; write the files as UTF-8, or as one of {', '.join(ENCODINGS)}"
        yield FieldProblem(owner, "format.encoding", message)
    if not all(isinstance(text, str) for text in csv.null):
        yield FieldProblem(owner, "format.null", f"is {brief(csv.null)}; give the texts that mean NULL")
    for name, letters in (("date", _DATE_ONLY), ("timestamp", _DIRECTIVES)):
        if (pattern := getattr(csv, name)) is not None:
            yield from problems_at(owner, f"format.{name}", _pattern_faults(pattern, letters))
    yield from _type_problems(owner, csv.types)


_TEXTS = ("delimiter", "quote", "escape", "encoding", "decimal", "thousands")


def _path_faults(path: object) -> Iterator[str]:
    if not isinstance(path, str):
        yield f"is {brief(path)}; give one path or pattern as text, such as 'data/*.csv'"
    elif is_address(path):
        yield from _address_faults(path)
    elif not re.search(r"\.(parquet|csv|csv\.gz)$", path):
        yield f"{brief(path)} must end in .parquet, .csv or .csv.gz"


def _address_faults(address: str) -> Iterator[str]:
    scheme, _, rest = address.partition("://")
    shown = brief(without_secrets(address))
    server, _, path = rest.partition("/")
    if scheme == "file":
        yield f"{brief(address)} is an address of this machine: leave 'file://' out"
    elif scheme not in SCHEMES:
        yield f"{shown} is none of {', '.join(SCHEMES)}{near(scheme, SCHEMES)}"
    elif "@" in server and (scheme not in AZURE or ":" in server.partition("@")[0]):
        yield f"{shown} has credentials, which every reader of the definition would see; put them in the setting source_access"
    elif not server or not path or re.search(r"[*?\[]", server):
        yield f"{shown} names no bucket or server with a path in it, such as s3://bucket/day=*/*.parquet"
    elif scheme in ("http", "https") and re.search(r"[*?#\[]", path):
        yield f"{shown} has wildcards or parameters; an HTTP address is that of one file, as servers do not list theirs"
    elif not re.search(r"\.(parquet|csv|csv\.gz)$", path):
        yield f"{shown} must end in .parquet, .csv or .csv.gz"


def _character_problems(owner: Owner, csv: Csv) -> Iterator[FieldProblem]:
    if len(csv.delimiter) != 1 or csv.delimiter in "\r\n":
        yield FieldProblem(owner, "format.delimiter", f"{brief(csv.delimiter)} is not one character")
    for name in ("quote", "escape", "thousands"):
        character = getattr(csv, name)
        if len(character) > 1 or character in ("\r", "\n"):
            yield FieldProblem(owner, f"format.{name}", f"{brief(character)} is not one character, or an empty text for none")
    if csv.decimal not in (".", ","):
        yield FieldProblem(owner, "format.decimal", f"{brief(csv.decimal)} is neither '.' nor ','")
    if csv.thousands and (csv.thousands == csv.decimal or csv.thousands in "+-0123456789eE"):
        yield FieldProblem(owner, "format.thousands", f"{brief(csv.thousands)} stands for something else in a number")
    if csv.quote and csv.quote == csv.delimiter:
        yield FieldProblem(owner, "format.quote", "is the delimiter")


def _pattern_faults(pattern: object, letters: frozenset[str]) -> Iterator[str]:
    used = _DIRECTIVE.findall(pattern) if isinstance(pattern, str) else []
    if not used:
        yield f"{brief(pattern)} says of nothing how it is written; use letters of strptime, such as %d.%m.%Y"
    elif unknown := [letter for letter in used if letter not in letters]:
        yield f"%{unknown[0]} in {brief(pattern)} is none of {' '.join('%' + letter for letter in sorted(letters))}"
    elif not {"y", "Y"} & set(used):
        yield f"{brief(pattern)} has no year"


def _type_problems(owner: Owner, types: object) -> Iterator[FieldProblem]:
    if not isinstance(types, Mapping):
        yield FieldProblem(owner, "format.types", f"is {brief(types)}; give a dict of column and type")
        return
    for name, type_name in types.items():
        try:
            is_csv_type = sql_type_of_name(type_name) != "BLOB"
        except ValueError:
            is_csv_type = False
        if not is_csv_type:
            message = f"{brief(type_name)} is no type of a CSV column{near(str(type_name), CSV_TYPES)}"
            yield FieldProblem(owner, f"format.types.{name}", message)
