"""The parts of answers to lookups that stay the same until the headers of the tables change, and the values of entities between them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import itemgetter
from typing import Any, cast

import orjson

from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.errors import NotReady
from featurestore.online.store import TableState
from featurestore.pipelines.online_lookup.lookup import online_column_missing
from featurestore.pipelines.online_lookup.lookup_derived import Columns, DerivedFeatures
from featurestore.pipelines.online_lookup.lookup_times import TIME_BYTES, any_older
from featurestore.pipelines.online_lookup.online_features import EXPIRED, NOT_FOUND, PRESENT, newest_edition
from featurestore.pipelines.online_lookup.view_rows import ViewRows
from featurestore.records.defaults import default_values
from featurestore.values import json_encoding, times

Entity = tuple[bytes, bytes, tuple[Any, ...]]
"""What an answer needs of an entity: its looked-up features as JSON without brackets, the encoded feature_timestamp of each view one after
the other, and the JSON values of the features that derived ones read. Derived features that read no request fields are among the first.
"""
Statuses = tuple[str, ...]
"""The status of an entity in each view."""
_NO_TIME = bytes(TIME_BYTES)
_time_of = itemgetter(slice(TIME_BYTES))


@dataclass(frozen=True)
class FormView:
    """A view of the plan: `nulls` are the encoded values of an entity without a row, `ttl` is in microseconds."""

    label: str
    nulls: bytes
    ttl: int | None


class LookupForm:
    """The form of all answers for one service plan while the headers of its tables stay the same."""

    def __init__(self, plan: ServicePlan, derived: DerivedFeatures | None, tables: Sequence[TableState | None]) -> None:
        """Raises: NotReady for a table with other keys than its view, or without a feature."""
        self.tables = list(tables)
        self.views = [_view(use, table) for use, table in zip(plan.uses, tables, strict=True)]
        places = _places(plan, tables)
        self._select = _selector(places, sum(len(_stored_columns(use, table)) for use, table in zip(plan.uses, tables, strict=True)))
        self._derived, self._derives_once = derived, derived is not None and not plan.request
        self._defaults = _defaults(plan, places)
        self._inputs = [] if derived is None else [(name, places[plan.looked_up_names.index(name)]) for name in derived.inputs]
        self.brief, self.full = _templates(plan, () if derived is None else derived.types, tables)

    def entities(self, views: Sequence[ViewRows], oldest: Sequence[bytes]) -> tuple[list[Entity], list[Statuses | None]]:
        """The entities of the stored rows of each view, and their statuses, None for those that are PRESENT in all views.

        `oldest` are the oldest valid times of each view as encoded, empty for views without a ttl. Raises: orjson.JSONDecodeError for
        invalid bytes.
        """
        if not any(None in rows for rows, _ in views):
            entities = self._whole(views)
            if not any_older([entity[1] for entity in entities], oldest):
                return entities, [None] * len(entities)
        statuses = [_statuses(row, oldest) for row in zip(*[rows for rows, _ in views], strict=True)]
        is_whole = [status is None for status in statuses]
        whole = [(list(compress(rows, is_whole)), [list(compress(column, is_whole)) for column in pieces]) for rows, pieces in views]
        present = iter(self._whole(whole) if any(is_whole) else ())
        return [next(present) if status is None else self._partial(place, views, status) for place, status in enumerate(statuses)], statuses

    def derive(self, entities: list[Entity]) -> list[Entity] | None:
        """The entities with their derived features, if those read no request fields: they are computed once then.

        None if they need the engine.
        """
        if not self._derives_once:
            return entities
        fragments = self._with_derived(entities, {})
        return None if fragments is None else [(fragment, entity[1], ()) for fragment, entity in zip(fragments, entities, strict=True)]

    def rows(self, entities: Sequence[Entity], fields: Columns) -> bytes | None:
        """The rows of the answer as JSON, without the outermost brackets; None if the derived features need the engine."""
        if self._derived is None or self._derives_once:
            return b"],[".join([entity[0] for entity in entities])
        fragments = self._with_derived(entities, fields)
        return None if fragments is None else b"],[".join(fragments)

    def _with_derived(self, entities: Sequence[Entity], fields: Columns) -> list[bytes] | None:
        assert self._derived is not None
        inputs = zip(*[entity[2] for entity in entities], strict=True) if self._inputs else ()
        looked_up = {name: column for (name, _), column in zip(self._inputs, inputs, strict=True)}
        derived = self._derived.compute(fields, looked_up, len(entities))
        if derived is None:
            return None
        more = [json_encoding.dumps(row)[1:-1] for row in zip(*derived, strict=True)]
        return [b"%b,%b" % (entity[0], values) for entity, values in zip(entities, more, strict=True)]

    def _whole(self, views: Sequence[ViewRows]) -> list[Entity]:
        """The entities of rows that are all there."""
        encoded = _join(b"", [map(_time_of, cast(Sequence[bytes], rows)) for rows, _ in views])
        return self._with_times(_join(b",", [cast(Sequence[bytes], column) for _, pieces in views for column in pieces]), encoded)

    def _partial(self, place: int, views: Sequence[ViewRows], statuses: Statuses) -> Entity:
        """An entity whose views have no row or an expired one, except those that are PRESENT: their values are NULL."""
        values: list[bytes] = []
        for (_, pieces), status, view in zip(views, statuses, self.views, strict=True):
            values += [piece for column in pieces if (piece := column[place]) is not None] if status is PRESENT else [view.nulls]
        encoded = [_NO_TIME if (row := rows[place]) is None else _time_of(row) for rows, _ in views]
        return self._with_times([b",".join(values)], [b"".join(encoded)])[0]

    def _with_times(self, fragments: list[bytes], encoded: list[bytes]) -> list[Entity]:
        """The entities with these stored values as JSON."""
        if self._select is None and not self._defaults and not self._inputs:
            return list(zip(fragments, encoded, repeat(())))
        rows: list[list[Any]] = orjson.loads(b"[[%b]]" % b"],[".join(fragments))
        for place, default in self._defaults:
            for row in rows:
                row[place] = default if row[place] is None else row[place]
        if self._select is not None:
            fragments = [orjson.dumps(self._select(row))[1:-1] for row in rows]
        elif self._defaults:
            fragments = [orjson.dumps(row)[1:-1] for row in rows]
        inputs = [tuple([row[place] for _, place in self._inputs]) for row in rows]
        return list(zip(fragments, encoded, inputs, strict=True))


def _statuses(row: Sequence[bytes | None], oldest: Sequence[bytes]) -> Statuses | None:
    """The status of an entity in each view; None if it is PRESENT in all. Encoded times sort like times."""
    statuses = tuple(
        [NOT_FOUND if stored is None else EXPIRED if stored < first else PRESENT for stored, first in zip(row, oldest, strict=True)]
    )
    return None if statuses.count(PRESENT) == len(statuses) else statuses


def _join(between: bytes, columns: Sequence[Iterable[bytes]]) -> list[bytes]:
    """The bytes of each entity, from those of each column."""
    return list(columns[0]) if len(columns) == 1 else list(map(between.join, zip(*columns, strict=True)))


def _view(use: ViewUse, table: TableState | None) -> FormView:
    if table is not None and table.keys and len(table.keys) != len(use.keys):
        raise NotReady(f"the online rows of {use.table} have other keys than its view; run featurestore publish --full", table=use.table)
    return FormView(use.label, b",".join([b"null"] * len(_stored_columns(use, table))), use.ttl)


def _places(plan: ServicePlan, tables: Sequence[TableState | None]) -> list[int]:
    """The position of each looked-up feature among the stored values of an entity."""
    places: list[int] = []
    width = 0
    for use, table in zip(plan.uses, tables, strict=True):
        stored = _stored_columns(use, table)
        places += [width + stored.index(column) for column, _ in use.features]
        width += len(stored)
    return places


def _defaults(plan: ServicePlan, places: Sequence[int]) -> list[tuple[int, Any]]:
    """The position of each looked-up feature with a default among the stored values of an entity, and the JSON value of the default."""
    values = {name: value for use in plan.uses for name, value in default_values(use).items()}
    name_places = zip(plan.looked_up_names, places, strict=True)
    return [(place, orjson.loads(json_encoding.dumps(values[name]))) for name, place in name_places if name in values]


def _selector(places: Sequence[int], width: int) -> Callable[[list[Any]], Sequence[Any]] | None:
    """A function that selects the values at these positions; None if these are all values in order."""
    if places == list(range(width)):
        return None
    return (lambda row: [row[places[0]]]) if len(places) == 1 else itemgetter(*places)


def _stored_columns(use: ViewUse, table: TableState | None) -> tuple[str, ...]:
    """The stored columns of a view's rows; for a table that never had rows, the requested columns, which are all NULL."""
    features = tuple(column for column, _ in use.features)
    if table is None or not table.columns:
        return features
    if lacking := [column for column in features if column not in table.columns]:
        raise online_column_missing(use.table, lacking[0])
    return table.columns


def _templates(plan: ServicePlan, derived_types: Sequence[str], tables: Sequence[TableState | None]) -> tuple[bytes, bytes]:
    """The brief and the full document as templates: `%b` stands for the rows, and in the full one also for each view's status and
    timestamps.
    """
    cursors = [(use.table, None if table is None else table.cursor) for use, table in zip(plan.uses, tables, strict=True)]
    snapshots = {name: None if cursor is None or cursor.snapshot_id is None else str(cursor.snapshot_id) for name, cursor in cursors}
    watermarks = {name: None if cursor is None else times.text(cursor.materialized_through) for name, cursor in cursors}
    types = [*(sql_type for use in plan.uses for sql_type in use.feature_types), *(None for _ in derived_types)]
    all_types = b',"types":' + _escape(types) + (b',"derived_types":' + _escape(derived_types) if derived_types else b"")
    start = b'{"features":%b,"rows":' % _escape(plan.feature_names)
    edition = newest_edition(None if table is None else table.edition for table in tables)
    edition_text = None if edition is None else str(edition)
    middle = b',"snapshots":%b,"watermarks":%b,"edition":%b' % (_escape(snapshots), _escape(watermarks), _escape(edition_text))
    places = b",".join(_escape(use.label) + b":%b" for use in plan.uses)
    more = b'%b,"status":{%b},"timestamps":{%b}' % (all_types, places, places)
    return start + b"[[%b]]" + middle + b"}", start + b"[[%b]]" + middle + more + b"}"


def _escape(value: Any) -> bytes:
    """A value as JSON, escaped for a template."""
    return orjson.dumps(value).replace(b"%", b"%%")
