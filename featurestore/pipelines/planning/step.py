"""One step of a plan: what happens to one definition, why, whom it concerns, and what filling it will read."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal

from featurestore.pipelines.planning import cost
from featurestore.pipelines.planning.cost import Read
from featurestore.records.definitions import Applied
from featurestore.values.humanize import format_names

Action = Literal["create", "new version", "roll back", "update words", "unchanged"]


@dataclass(frozen=True)
class Step:
    """One thing to do, or `unchanged`. `result` is the registry row it leads to; `sql` is set for views that change.

    `diff` has the unified difference of a view's SQL from the version before. `models` are registered model versions,
    such as `churn/3`, that were trained on an older version than the step leads to: they stay on it. `reads` is what the
    backfill of a view's new version reads, also of one that was applied before and is not filled yet.
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
        """The SQL that will compute a view's rows; None for other kinds."""
        return self.result.sql or None

    @property
    def word(self) -> str:
        """The action, and of an unchanged view or service what keeps it from being brought up to date."""
        return self.action if self.action != "unchanged" else "blocked" if "cannot be materialized" in self.reason else "to fill"

    @property
    def notes(self) -> list[str]:
        """What to know besides the reason, a line each."""
        found: list[str] = []
        if self.reads:
            found.append(f"its backfill reads {cost.total(self.reads).amount} of {format_names([read.source for read in self.reads])}")
        if self.models:
            found.append(f"on older versions, and stay there: {format_names(self.models)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form for people and programs."""
        plain = {name: getattr(self, name) for name in ("action", "kind", "name", "version", "reason", "sql", "diff")}
        return {**plain, "models": list(self.models), "reads": [read.to_dict() for read in self.reads]}


def sql_diff(held: Applied, result: Applied) -> str:
    """The unified difference of two versions' SQL."""
    before, after = (f"{row.name} v{row.version}" for row in (held, result))
    return "\n".join(difflib.unified_diff(held.sql.splitlines(), result.sql.splitlines(), before, after, lineterm=""))
