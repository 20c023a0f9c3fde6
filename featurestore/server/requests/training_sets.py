"""Point-in-time joins and training sets to build."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.server.requests.body import MOST_PARTS, Body, Items
from featurestore.server.requests.spines import SpineBody
from featurestore.spines.join_request import snapshots_of_texts
from featurestore.values.arguments import Snapshots

SNAPSHOT_IDS = 1 << 63
"""Exclusive upper bound of snapshot ids, which are signed 64-bit integers."""


TagMark = Annotated[str, Field(pattern="^@", max_length=200)]
"""A tag, with its @."""


class JoinFields(Body):
    """Which features to join to a spine, and as of when."""

    service: str
    timestamp: str = Field(description="the spine column with the time of each row")
    known: Literal["now", "then"] = Field(
        "now", description="`now`: with all later corrections; `then`: only what was known at the time of each row"
    )
    snapshots: Annotated[dict[str, str | int | None], Field(max_length=MOST_PARTS)] | TagMark | None = Field(
        None,
        description="snapshots to pin: ids or tags (`@release-2026-11`) by feature table such as `orders_v1`, or one tag for all tables",
    )

    def pinned_snapshots(self) -> Snapshots | None:
        """The snapshots to pin; None if no snapshots are pinned."""
        return snapshots_of_texts(self.snapshots)

    @field_validator("snapshots")
    @classmethod
    def _check_snapshot_ids(cls, snapshots: dict[str, str | int | None] | str | None) -> dict[str, str | int | None] | str | None:
        for table, snapshot in ({} if isinstance(snapshots, str | None) else snapshots).items():
            text = str(snapshot)
            is_id = text.isascii() and text.isdigit() and int(text) < SNAPSHOT_IDS
            if snapshot is not None and not is_id and not text.startswith("@"):
                raise ValueError(f"{table[:100]}: {text[:100]!r} is neither a snapshot id nor a tag such as @release-2026-11")
        return snapshots


class TrainingSetFields(JoinFields):
    """A training set without its spine."""

    label: str | None = Field(None, description="the spine column to predict")
    name: str | None = Field(None, description="its name; defaults to the name of the service")
    split: dict[str, float | str | None] | None = Field(
        None, max_length=MOST_PARTS, description="by part of the split, its fraction of the rows or the time at which it ends"
    )
    by: str | Items[str] | None = Field(
        None, description="rows with equal values in these columns go to the same part; defaults to the keys of the service"
    )

    def request(self, spine: Any) -> TrainingSetRequest:
        """The training set request for a spine. Raises: RequestError naming the field."""
        arguments = self.model_dump(include=set(TrainingSetFields.model_fields) - {"snapshots"})
        return TrainingSetRequest.of(spine=spine, snapshots=self.pinned_snapshots(), **arguments)


class JoinBody(JoinFields):
    """A point-in-time join whose result is not stored."""

    spine: SpineBody


class TrainingSetBody(TrainingSetFields):
    """A training set to build."""

    spine: SpineBody
