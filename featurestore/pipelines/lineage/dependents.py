"""Find the columns of feature tables that depend on a table or a column, also through feature tables that other views read."""

from collections.abc import Iterable

from featurestore.compiler.lineage.column_uses import ALL_COLUMNS, NO_COLUMN, VALUE, Uses
from featurestore.pipelines.lineage.impact_result import Dependence
from featurestore.pipelines.lineage.store_lineage import TracedView


class Dependents:
    """Marks: the columns of tables that depend on the target, and how. They only grow."""

    def __init__(self, table: str, column: str | None) -> None:
        self._marks: dict[str, dict[str, Dependence]] = {table: {column or ALL_COLUMNS: "direct"}}

    def spread(self, views: Iterable[TracedView]) -> None:
        """Mark the columns of the feature tables of views until there are no more to mark."""
        known = list(views)
        grown = True
        while grown:
            grown = any(self._mark(view) for view in known)

    def dependence(self, uses: Uses) -> Dependence | None:
        """How a column with these uses depends on the target; None if it does not."""
        marked = [(mark, use.role) for use in uses if (mark := self.mark(use.table, use.column)) is not None]
        if not marked:
            return None
        return "direct" if ("direct", VALUE) in marked else "indirect"

    def roles(self, uses: Uses) -> set[str]:
        """The roles in which the target, or what depends on it, is used."""
        return {use.role for use in uses if self.mark(use.table, use.column) is not None}

    def mark(self, table: str, column: str) -> Dependence | None:
        """How a column of a table depends on the target; None if it does not."""
        marks = self._marks.get(table, {})
        if ALL_COLUMNS in marks:
            return marks[ALL_COLUMNS]
        if column == ALL_COLUMNS and marks:
            return "direct" if "direct" in marks.values() else "indirect"
        return marks.get(column)

    def _mark(self, view: TracedView) -> bool:
        """Mark the columns of one feature table; whether there were any to mark."""
        marks = self._marks.get(view.table, {})
        columns = {name: how for name, uses in view.columns.items() if (how := self.dependence(uses)) is not None}
        if "indirect" in columns.values():
            # A key, a time or a condition decides which rows there are.
            columns[NO_COLUMN] = "indirect"
        new = {name: how for name, how in columns.items() if marks.get(name) not in (how, "direct")}
        if not new or ALL_COLUMNS in marks:
            return False
        self._marks[view.table] = {**marks, **new}
        return True
