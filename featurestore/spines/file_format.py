"""A spine in CSV files with a format other than the default."""

import os
from dataclasses import dataclass
from typing import Any

from featurestore.compiler.check_source import format_problems
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.source import Source
from featurestore.errors import RequestError
from featurestore.values import frames


@dataclass(frozen=True)
class SpineFiles:
    """CSV files by path or pattern, and their format."""

    pattern: str
    format: Csv


def with_format(spine: Any, format: Csv | None) -> Any:
    """Attach a format to the spine's files; without a format the spine is unchanged.

    Raises: RequestError naming what is wrong with the format, or if the spine is not CSV files.
    """
    if format is None:
        return spine
    text = os.fspath(spine).strip() if isinstance(spine, str | os.PathLike) else ""
    named = bool(text) and not text.startswith("iceberg:") and not frames.is_query(text)
    if not named or not text.lower().endswith((".csv", ".csv.gz")):
        raise RequestError("format= says how CSV files are written; the spine is no path that ends in .csv or .csv.gz", field="format")
    for problem in format_problems(Source("spine", path=text.lower(), format=format)):
        raise RequestError(f"{problem.field} {problem.message}", field=problem.field)
    return SpineFiles(text, format)
