"""Helpers of the tests of written tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from featurestore import FeatureService, FeatureStore
from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.service_plan import ServicePlan
from featurestore.records import definitions


def moment(day: int, hour: int = 0) -> datetime:
    """A time in January 2026."""
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def plan_of(store: FeatureStore, name: str) -> ServicePlan:
    """A service with all features of the current version of a table."""
    known = definitions.read_registry(store._runtime)
    row = known.get("view", name)
    view = known.view(row)
    return bind_service(FeatureService(f"all_of_{name}", features=[view]), 1, "", {name: ViewVersion(view, row.version, row.columns)})


def rows_as_of(store: FeatureStore, name: str, spine: list[dict[str, Any]], known: Any = "now", **pins: Any) -> list[tuple[Any, ...]]:
    """The features of each spine row as of its time `t`."""
    plan = plan_of(store, name)
    joined = store.point_in_time(plan, spine, timestamp="t", known=known, **pins)
    return list(zip(*(joined.column(feature).to_pylist() for feature in plan.feature_names), strict=True))


def rows_online(store: FeatureStore, name: str, entities: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The features of each entity, from the online store."""
    return list(store.online_features(plan_of(store, name), entities).rows)


def log_of(store: FeatureStore, table: str) -> list[dict[str, Any]]:
    """Every stored row of a feature table."""
    stored = store.catalog.load_table(f"features.{table}").scan().to_arrow()
    rows: list[dict[str, Any]] = stored.to_pylist()
    return rows
