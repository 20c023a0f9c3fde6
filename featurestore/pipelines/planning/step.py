"""One step of a plan: the action on one definition, with its reason and its impact."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal

from featurestore.pipelines.planning import cost
from featurestore.pipelines.planning.cost import Read
from featurestore.records.definitions import Applied
from featurestore.values.humanize import format_names

Action = Literal["create", "new version", "roll back", "update words", "change", "unchanged"]


@dataclass(frozen=True)
class Step:
    """An action on one definition; `result` is the registry row that it leads to.

    `diff` is the unified diff of a view's SQL from its current version. `models` are registered model versions, such as `churn/3`, that
    were trained on older versions, and stay on them. `reads` is what the backfill of a view reads if it has not run yet, also for an
    unchanged definition.
    """

    action: Action
    kind: str
    name: str
    version: int
    reason: str
    result: Applied
    diff: str | None = None
    models: tuple[str, ...] = ()
    reads: tuple[Read, ...] = ()

    @property
    def sql(self) -> str | None:
        """The SQL that computes the rows of a view; None for other kinds."""
        return self.result.sql or None

    @property
    def word(self) -> str:
        """The action; for an unchanged definition with a reason, `blocked` or `to fill`."""
        return self.action if self.action != "unchanged" else "blocked" if "cannot be materialized" in self.reason else "to fill"

    @property
    def notes(self) -> list[str]:
        """Further notes, one line each."""
        notes: list[str] = []
        if self.reads:
            notes.append(f"its backfill reads {cost.total(self.reads).amount} of {format_names([read.source for read in self.reads])}")
        if self.models:
            notes.append(f"models that stay on older versions: {format_names(self.models)}")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form for people and programs."""
        plain = {name: getattr(self, name) for name in ("action", "kind", "name", "version", "reason", "sql", "diff")}
        return {**plain, "models": list(self.models), "reads": [read.to_dict() for read in self.reads]}


def sql_diff(current: Applied, result: Applied) -> str:
    """The unified diff of the SQL of two versions."""
    before, after = (f"{row.name} v{row.version}" for row in (current, result))
    return "\n".join(difflib.unified_diff(current.sql.splitlines(), result.sql.splitlines(), before, after, lineterm=""))
