"""Results of materializing, publishing, verifying, maintaining and repairing tables."""

from typing import Any, Literal

from pydantic import Field

from featurestore.server.responses.answer import Answer


class CheckOutcome(Answer):
    """The result of a data quality check in a run."""

    name: str
    severity: Literal["error", "warn"]
    passed: bool
    message: str


class Run(Answer):
    """The result of materializing one view."""

    view: str
    table: str
    start: str | None
    end: str | None
    rows_computed: int
    rows_appended: int
    corrections: int
    future_rows: int
    null_keys: int
    snapshot_id: str | None
    published: int
    seconds: float
    checks: list[CheckOutcome]


class PublishedView(Answer):
    """What was published of a version of a view; `snapshot_id` is null if its table is empty."""

    view: str
    table: str
    rows: int
    snapshot_id: str | None


class OnlineDifference(Answer):
    """A key whose online row differs from the table. `changed` comes with the feature and its values `online` and in the `table`."""

    key: dict[str, Any]
    what: Literal["missing", "extra", "changed"]


class OnlineComparison(Answer):
    """The comparison of a view version's online rows with its feature table."""

    view: str
    table: str
    snapshot_id: str | None
    rows: int
    missing: int
    changed: int
    extra: int
    pushed: int
    differences: list[OnlineDifference] = Field(description="the first 1000 differences")
    same: bool


class TableMaintenance(Answer):
    """What maintenance removed and compacted in a table, or would with `dry_run`; `note` says what was not done, and why."""

    table: str
    snapshots: int
    files: int
    bytes: int
    compacted_files: int
    compacted_bytes: int
    dropped_rows: int
    note: str | None


class Repair(Answer):
    """A table with missing files that was rolled back, or would be with `dry_run`, to the snapshot `back_to`: null if it is then empty."""

    table: str
    missing: int
    first: str | None
    back_to: str | None
    training_sets: list[str] = Field(description="ids of the training sets that need a missing file")
    todo: str
