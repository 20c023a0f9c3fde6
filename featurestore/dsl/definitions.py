"""Definitions are the entities, sources, views and services of one project, gathered from objects or files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.dsl.entity import Entity
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import Problem, brief

Definition = Entity | Source | FeatureView | FeatureService
KINDS: Mapping[type[Any], str] = {Entity: "entity", Source: "source", FeatureView: "view", FeatureService: "service"}


@dataclass(frozen=True)
class Place:
    """Where an object was written: its file, its line, and the lines of what is named inside it."""

    file: str
    line: int
    inner: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Definitions:
    """Every definition, each once, in the order in which they were met.

    `places` holds (kind, name) -> Place; `problems` is what went wrong on the way here, to be reported with the rest.
    """

    entities: tuple[Entity, ...] = ()
    sources: tuple[Source, ...] = ()
    views: tuple[FeatureView, ...] = ()
    services: tuple[FeatureService, ...] = ()
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict, compare=False)
    problems: tuple[Problem, ...] = ()

    def problem(self, kind: str, name: str, field_name: str, message: str) -> Problem:
        """A problem of one object, with its file and line where they are known."""
        place = self.places.get((kind, name))
        if place is None:
            return Problem(message, titled(kind, name), field_name)
        parts = [*reversed(field_name.split(".")), field_name.partition("[")[0]]
        line = next((place.inner[part] for part in parts if part in place.inner), place.line)
        return Problem(message, titled(kind, name), field_name, place.file, line)


def titled(kind: str, name: object) -> str:
    """What a problem calls the object in which it lies."""
    return f"{kind} {brief(name)}"


def gather(objects: Iterable[Any], places: Mapping[int, Place] | None = None, known: Iterable[Problem] = ()) -> Definitions:
    """The definitions among `objects` and those they refer to. `places` maps an object's id() to where it was written.

    Two different objects of one kind and name, what is no definition, and `known` become its problems.
    """
    problems = list(known)
    found: dict[tuple[str, str], Definition] = {}
    at: dict[tuple[str, str], Place] = {}
    for item in objects:
        for definition in _reachable(item, problems, places or {}):
            key = (KINDS[type(definition)], str(definition.name))
            place = (places or {}).get(id(definition))
            if key in found and found[key] != definition:
                other = f" (the other is at {at[key].file}:{at[key].line})" if key in at else ""
                message = f"another {key[0]} of this name is defined differently{other}; give one of them another name"
                problems.append(Problem(message, titled(*key), "name", place.file if place else None, place.line if place else None))
            found.setdefault(key, definition)
            if place:
                at.setdefault(key, place)
    return Definitions(
        tuple(item for item in found.values() if isinstance(item, Entity)),
        tuple(item for item in found.values() if isinstance(item, Source)),
        tuple(item for item in found.values() if isinstance(item, FeatureView)),
        tuple(item for item in found.values() if isinstance(item, FeatureService)),
        at,
        tuple(problems),
    )


def _reachable(item: Any, problems: list[Problem], places: Mapping[int, Place]) -> list[Definition]:
    if isinstance(item, Selection):
        item = item.view
    if isinstance(item, Entity | Source):
        return [item]
    if isinstance(item, FeatureView):
        parts: list[Definition] = []
        for name, wanted in (("entity", Entity), ("source", Source)):
            part = getattr(item, name)
            if isinstance(part, wanted):
                parts.append(part)
            else:
                problems.append(_problem(f"is {brief(part)}; it must be an object of {wanted.__name__}", item, name, places))
        return [*parts, item] if len(parts) == 2 else []
    if isinstance(item, FeatureService):
        listed: list[Definition] = []
        for entry in item.features:
            if isinstance(entry, Selection):
                listed.extend(_reachable(entry.view, problems, places))
            else:
                problems.append(_problem(f"{brief(entry)} is not a view or a selection of one", item, "features", places))
        return [*listed, item]
    problems.append(Problem(f"{brief(item)} is not an Entity, Source, FeatureView or FeatureService"))
    return []


def _problem(message: str, of: Definition, field_name: str, places: Mapping[int, Place]) -> Problem:
    kind = KINDS[type(of)]
    found = {(kind, str(of.name)): places[id(of)]} if id(of) in places else {}
    return Definitions(places=found).problem(kind, str(of.name), field_name, message)
