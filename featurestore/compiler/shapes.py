"""What a definition is made of, whatever was written: what should be text is text, and a dict has texts as its names."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from featurestore.dsl.entity import Entity
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import brief
from featurestore.values.arguments import UNREADABLE

Found = Iterator[tuple[str, str]]
"""(field, message) of each problem."""

_WORDS = ("description", "owner")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def is_shapely(item: object) -> bool:
    """Whether what is in an object, and in those that it refers to, can be looked into."""
    parts: tuple[object, ...] = ()
    if isinstance(item, FeatureView):
        parts = (item.entity, item.source)
    if isinstance(item, FeatureService):
        parts = tuple(selection.view for selection in item.selections)
    return not any(shape_problems(item)) and all(is_shapely(part) for part in parts)


def shape_problems(item: object) -> Found:
    """What one object has of another shape than it should."""
    for field in _WORDS:
        yield from _text_problems(field, getattr(item, field, ""))
    tags = getattr(item, "tags", {})
    if not isinstance(tags, Mapping) or not all(_is_text(part) for pair in tags.items() for part in pair):
        yield "tags", f"is {brief(tags)}; it must be a dict of strings"
    for kind, problems in _OF:
        if isinstance(item, kind):
            yield from problems(item)


def _entity_problems(entity: Entity) -> Found:
    for key in entity.keys:
        if not _is_text(key):
            yield "keys", f"{brief(key)} is not the name of a column; give one column name, or a list of them"


def _source_problems(source: Source) -> Found:
    for field in ("table", "sql", "timestamp", "created"):
        if (given := getattr(source, field)) is not None:
            yield from _text_problems(field, given)
    yield from _names_problems("columns", source.columns, "{'event_time': 'to_timestamp(seconds)'}")


def _view_problems(view: FeatureView) -> Found:
    for name in view.declared:
        if not _is_text(name):
            yield "features", f"{brief(name)} is not a feature name; give a dict of names, or a list of columns"


def _service_problems(service: FeatureService) -> Found:
    yield from _names_problems("request", service.request, "{'basket': 'double'}")
    yield from _names_problems("derived", service.derived, "{'x': 'a / b'}")
    for selection in service.selections:
        for message in _selection_problems(selection):
            yield "features", f"{getattr(selection.view, 'name', '')!s:.128}{message}"


def _selection_problems(selection: Selection) -> Iterator[str]:
    alias, keys = selection.alias, selection.keys
    for name in selection.names or ():
        if not isinstance(name, str):
            yield f"[...]: {brief(name)} is not the name of a feature; write view['a'] or view['a', 'b']"
    if alias is not None and not (isinstance(alias, str) and _ALIAS.fullmatch(alias)):
        yield f".aliased(...): alias={brief(alias)} is not a name: letters, digits and _ only, not beginning with a digit"
    if not isinstance(keys, Mapping) or not all(_is_text(part) for pair in keys.items() for part in pair):
        yield f".aliased(...): keys={brief(keys)} is not a dict of key columns and columns of the request: {{'customer_id': 'referrer_id'}}"


def _text_problems(field: str, given: object) -> Found:
    if not isinstance(given, str):
        yield field, f"is {brief(given)}; give text"
    elif unreadable := UNREADABLE.search(given):
        yield field, f"{brief(given)} holds {unreadable[0]!r}, which is no character of a text; take it out"


def _names_problems(field: str, given: object, example: str) -> Found:
    if not isinstance(given, Mapping) or not all(_is_text(name) for name in given):
        yield field, f"is {brief(given)}; give a dict of names, such as {example}"


def _is_text(given: object) -> bool:
    return isinstance(given, str) and not UNREADABLE.search(given)


_OF: tuple[tuple[type[Any], Callable[[Any], Found]], ...] = (
    (Entity, _entity_problems),
    (Source, _source_problems),
    (FeatureView, _view_problems),
    (FeatureService, _service_problems),
)
