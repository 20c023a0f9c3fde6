"""Merge the columns of several files by name, in any order; a column that a file lacks is NULL there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.errors import TypeMismatch


@dataclass(frozen=True)
class Columns:
    """`names` maps a column's name in lower case to its spelling in the first file that has it.

    `lacking` has, of each column that some file is without, the first such file.
    """

    names: Mapping[str, str]
    lacking: Mapping[str, str] = field(default_factory=dict)


def merge_columns(paths: Sequence[str], columns_of_files: Sequence[Sequence[str]]) -> Columns:
    """The columns of files that have these each; case does not tell names apart."""
    names: dict[str, str] = {}
    names_of: dict[tuple[str, ...], set[str]] = {}
    for columns in columns_of_files:
        if (key := tuple(columns)) not in names_of:
            names_of[key] = {name.lower() for name in columns}
            for name in columns:
                names.setdefault(name.lower(), name)
    lacking: dict[str, str] = {}
    for path, columns in zip(paths, columns_of_files, strict=True):
        if len(names_of[tuple(columns)]) < len(names):
            for name in names.keys() - names_of[tuple(columns)]:
                lacking.setdefault(name, path)
    return Columns(names, {names[name]: path for name, path in lacking.items()})


def too_many_digits(column: str, path: str, column_type: object) -> TypeMismatch:
    """The error for a column of decimals that DuckDB would read as doubles."""
    return TypeMismatch(
        f"column '{column}' is {column_type} in {path}, and a decimal has at most 38 digits;"
        " write it as decimal(38, s), as double or as text",
        column=column,
        found=str(column_type),
        files=[path],
    )


def incompatible_types(column: str, first: tuple[str, object], other: tuple[str, object]) -> TypeMismatch:
    """The error for a column that two files (path, type) have in types that no type holds."""
    (path, data_type), (other_path, other_type) = first, other
    return TypeMismatch(
        f"column '{column}' is {data_type} in {path} and {other_type} in {other_path}, and no type holds both without loss;"
        " write the files with one type",
        column=column,
        expected=str(data_type),
        found=str(other_type),
        files=[path, other_path],
    )
