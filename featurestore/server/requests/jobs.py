"""Options of the jobs that a server runs in the background."""

from typing import Annotated

from pydantic import Field

from featurestore.server.requests.body import Body, Items


class MaterializationBody(Body):
    """Which views to materialize, by default all, and for which interval of ISO 8601 times; see `FeatureStore.materialize`.

    `wait`: for how long to wait for another process that computes the same view.
    """

    names: Items[str] | None = None
    start: str | None = None
    end: str | None = None
    wait: Annotated[str, Field(examples=["10m"])] = "10m"


class MaintenanceBody(Body):
    """Options of table maintenance.

    Snapshots that nothing pins and orphan files are removed if they are older than `older_than`; small files are compacted at any age.
    `drop_superseded_after` also drops row versions that were superseded longer ago; by default none are dropped.
    `wait`: for how long to wait for another process that maintains the store.
    """

    older_than: Annotated[str, Field(examples=["7d"])] = "7d"
    drop_superseded_after: Annotated[str | None, Field(examples=["365d"])] = None
    dry_run: bool = False
    wait: Annotated[str, Field(examples=["10m"])] = "10m"


class RebuildBody(Body):
    """The training set to rebuild: its id, or the URI of a model that was trained on it."""

    id: str


class ComparisonBody(Body):
    """Two training sets to compare, each given by its id or by the URI of a model that was trained on it."""

    a: str
    b: str


class PublicationBody(Body):
    """Which views to publish, by default all. `full` replaces all online rows of each table."""

    names: Items[str] | None = None
    full: bool = False


class VerificationBody(Body):
    """Which views to verify online, by default all. `sample` limits the comparison to that many random rows of each table."""

    names: Items[str] | None = None
    sample: Annotated[int, Field(ge=1)] | None = None


class RepairBody(Body):
    """Options of a repair. With `dry_run`, tables with missing files are only reported."""

    dry_run: bool = False
