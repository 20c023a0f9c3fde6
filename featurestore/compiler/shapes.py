"""Check the types of a definition's arguments: text where text is expected, and dicts with text keys."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from featurestore.dsl.definitions import owner_of
from featurestore.dsl.entity import Entity
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import brief
from featurestore.values.arguments import UNREADABLE

_TEXT_FIELDS = ("description", "owner")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def has_valid_shape(item: object) -> bool:
    """Whether the arguments of an object, and of those it refers to, have the expected types."""
    parts: tuple[object, ...] = ()
    if isinstance(item, FeatureView):
        parts = (item.entity, item.source)
    if isinstance(item, FeatureService):
        parts = tuple(selection.view for selection in item.selections)
    return not any(shape_problems(item)) and all(has_valid_shape(part) for part in parts)


def shape_problems(item: object) -> Iterator[FieldProblem]:
    """A problem for each argument of an object with an unexpected type."""
    owner = owner_of(item)
    for field in _TEXT_FIELDS:
        yield from problems_at(owner, field, _text_faults(getattr(item, field, "")))
    tags = getattr(item, "tags", {})
    if not isinstance(tags, Mapping) or not all(_is_text(part) for pair in tags.items() for part in pair):
        yield FieldProblem(owner, "tags", f"is {brief(tags)}; it must be a dict of strings")
    for definition_type, problems in _CHECKS:
        if isinstance(item, definition_type):
            yield from problems(item)


def _entity_problems(entity: Entity) -> Iterator[FieldProblem]:
    for key in entity.keys:
        if not _is_text(key):
            yield FieldProblem(
                owner_of(entity), "keys", f"{brief(key)} is not the name of a column; give one column name, or a list of them"
            )


def _source_problems(source: Source) -> Iterator[FieldProblem]:
    owner = owner_of(source)
    for field in ("table", "sql", "timestamp", "created"):
        if (value := getattr(source, field)) is not None:
            yield from problems_at(owner, field, _text_faults(value))
    yield from problems_at(owner, "columns", _names_faults(source.columns, "{'event_time': 'to_timestamp(seconds)'}"))


def _view_problems(view: FeatureView) -> Iterator[FieldProblem]:
    for name in view.declared:
        if not _is_text(name):
            message = f"{brief(name)} is not a feature name; give a dict of names, or a list of columns"
            yield FieldProblem(owner_of(view), "features", message)


def _service_problems(service: FeatureService) -> Iterator[FieldProblem]:
    owner = owner_of(service)
    yield from problems_at(owner, "request", _names_faults(service.request, "{'basket': 'double'}"))
    yield from problems_at(owner, "derived", _names_faults(service.derived, "{'x': 'a / b'}"))
    for selection in service.selections:
        for message in _selection_faults(selection):
            yield FieldProblem(owner, "features", f"{getattr(selection.view, 'name', '')!s:.128}{message}")


def _selection_faults(selection: Selection) -> Iterator[str]:
    alias, keys = selection.alias, selection.keys
    for name in selection.names or ():
        if not isinstance(name, str):
            yield f"[...]: {brief(name)} is not the name of a feature; write view['a'] or view['a', 'b']"
    if alias is not None and not (isinstance(alias, str) and _ALIAS.fullmatch(alias)):
        yield f".aliased(...): alias={brief(alias)} is not a name: letters, digits and _ only, not beginning with a digit"
    if not isinstance(keys, Mapping) or not all(_is_text(part) for pair in keys.items() for part in pair):
        yield f".aliased(...): keys={brief(keys)} is not a dict of key columns and columns of the request: {{'customer_id': 'referrer_id'}}"


def _text_faults(value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"is {brief(value)}; give text"
    elif unreadable := UNREADABLE.search(value):
        yield f"{brief(value)} contains {unreadable[0]!r}, which is not a valid text character; remove it"


def _names_faults(value: object, example: str) -> Iterator[str]:
    if not isinstance(value, Mapping) or not all(_is_text(name) for name in value):
        yield f"is {brief(value)}; give a dict of names, such as {example}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not UNREADABLE.search(value)


_CHECKS: tuple[tuple[type[Any], Callable[[Any], Iterator[FieldProblem]]], ...] = (
    (Entity, _entity_problems),
    (Source, _source_problems),
    (FeatureView, _view_problems),
    (FeatureService, _service_problems),
)
