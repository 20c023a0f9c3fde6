"""An expression: a feature computed from other features of the same view, row by row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expression:
    """Row SQL over the features declared before it in the same view."""

    sql: str
