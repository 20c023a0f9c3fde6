"""A service plan: a service resolved to versions of its views, used by the join and the lookup, and stored with models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from featurestore.dsl.value_types import checked_type


@dataclass(frozen=True)
class ViewUse:
    """One use of one version of a view.

    `label` is unique in the service (the alias, or the view's name). `keys` pairs each key column of the feature
    table with the request's column; `features` pairs each column of the feature table with its name in the service.
    `key_types` and `feature_types` are their DuckDB types. `ttl` is in microseconds, None for no limit; `every` is
    None for a row view.
    """

    label: str
    view: str
    version: int
    table: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    key_types: tuple[str, ...]
    feature_types: tuple[str, ...]
    ttl: int | None
    every: str | None
    time: str | None = None
    """The spine's column with the time as of which to look up; None: that of the spine."""
    defaults: tuple[tuple[str, Any], ...] = ()
    """The features, by their names in the service, that have a value in place of NULL, and that value in its JSON form."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the feature table that are read, in output order."""
        return tuple(column for column, _ in self.features)


@dataclass(frozen=True)
class ServicePlan:
    """A service resolved to view versions. `request` pairs field names with DuckDB types, `derived` names with SQL."""

    service: str
    version: int
    fingerprint: str
    uses: tuple[ViewUse, ...]
    request: tuple[tuple[str, str], ...]
    derived: tuple[tuple[str, str], ...]

    @cached_property
    def entity_columns(self) -> tuple[str, ...]:
        """The request's key columns, each once, in order of first use."""
        return tuple(dict.fromkeys(column for use in self.uses for _, column in use.keys))

    @cached_property
    def key_types(self) -> Mapping[str, str]:
        """The DuckDB type of each of the request's key columns."""
        return {column: sql_type for use in self.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)}

    @cached_property
    def sql_types(self) -> Mapping[str, str]:
        """The DuckDB types of keys, request fields and looked-up features; derived features have none."""
        features = {name: sql_type for use in self.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
        return {**self.key_types, **dict(self.request), **features}

    @cached_property
    def looked_up_names(self) -> tuple[str, ...]:
        """The features that come from feature tables, in output order."""
        return tuple(name for use in self.uses for _, name in use.features)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """All features in output order: the looked-up ones, then the derived ones."""
        return self.looked_up_names + tuple(name for name, _ in self.derived)

    @cached_property
    def column_names(self) -> frozenset[str]:
        """Everything that a row may have: key columns, request fields and features."""
        return frozenset({*self.entity_columns, *(name for name, _ in self.request), *self.feature_names})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `service_plan_from_dict` reads it."""
        document = asdict(self)
        for use in document["uses"]:
            # Left out if they are not set, so that plans from before they existed are unchanged.
            for name in [name for name in ("time", "defaults") if not use[name]]:
                del use[name]
        return document

    def at_one_time(self) -> "ServicePlan":
        """The same plan, with all views as of the spine's own time."""
        return replace(self, uses=tuple(replace(use, time=None) for use in self.uses))

    @property
    def times(self) -> tuple[str, ...]:
        """The spine's columns with times of their own, each once."""
        return tuple(dict.fromkeys(use.time for use in self.uses if use.time is not None))


def service_plan_from_dict(document: Mapping[str, Any]) -> ServicePlan:
    """Read a plan from the form that `ServicePlan.to_dict` returns, also after a round trip through JSON.

    Stored plans are not trusted: types and numbers, which become part of SQL, are checked here, and the SQL of derived features is
    checked wherever it is used. Raises: ValueError.
    """
    uses = tuple(
        ViewUse(
            **{
                **use,
                "keys": _pairs(use["keys"]),
                "features": _pairs(use["features"]),
                "key_types": tuple(map(checked_type, use["key_types"])),
                "feature_types": tuple(map(checked_type, use["feature_types"])),
                "ttl": _checked_ttl(use["ttl"]),
                "time": _checked_time(use.get("time")),
                "defaults": _checked_defaults(use),
            }
        )
        for use in document["uses"]
    )
    request = tuple((name, checked_type(sql_type)) for name, sql_type in _pairs(document["request"]))
    return ServicePlan(**{**document, "uses": uses, "request": request, "derived": _pairs(document["derived"])})


def _pairs(items: Any) -> tuple[tuple[str, str], ...]:
    return tuple((left, right) for left, right in items)


def _checked_time(name: object) -> str | None:
    if name is None or isinstance(name, str):
        return name
    raise ValueError(f"{name!r} is not the name of a column")


def _checked_defaults(use: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    names = {name for _, name in _pairs(use["features"])}
    defaults = tuple((name, value) for name, value in use.get("defaults") or ())
    if not all(name in names and isinstance(value, str | int | float | bool) for name, value in defaults):
        raise ValueError(f"{defaults!r} are not defaults of {sorted(names)}")
    return defaults


def _checked_ttl(number: object) -> int | None:
    if number is None or type(number) is int:
        return number
    raise ValueError(f"{number!r} is not a number of microseconds")
