"""Gather the definitions of a project (entities, sources, views, services, grants and policies) from objects or files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.dsl.entity import Entity
from featurestore.dsl.grant import Grant
from featurestore.dsl.policy import TablePolicy
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import Problem, brief

Definition = Entity | Source | FeatureView | FeatureService | Grant | TablePolicy
KINDS: Mapping[type[Any], str] = {
    Entity: "entity",
    Source: "source",
    FeatureView: "view",
    FeatureService: "service",
    Grant: "grant",
    TablePolicy: "policy",
}


@dataclass(frozen=True)
class Place:
    """Where an object is defined: its file, its line, and the lines of its named parts."""

    file: str
    line: int
    inner: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Definitions:
    """All definitions, each once, in the order in which they were found.

    `places` maps (kind, name) to Place; `problems` are those found while loading, to be reported with the others. `commit` is the git
    commit of definitions whose files are elsewhere; None: that of the files in `places`.
    """

    entities: tuple[Entity, ...] = ()
    sources: tuple[Source, ...] = ()
    views: tuple[FeatureView, ...] = ()
    services: tuple[FeatureService, ...] = ()
    grants: tuple[Grant, ...] = ()
    policies: tuple[TablePolicy, ...] = ()
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict, compare=False)
    problems: tuple[Problem, ...] = ()
    commit: str | None = field(default=None, compare=False)

    def locate(self, problem: FieldProblem) -> Problem:
        """The problem with the file and line of its field, if known."""
        return self.problem(*problem.owner, problem.field, problem.message)

    def problem(self, kind: str, name: str, field_name: str, message: str) -> Problem:
        """A problem of an object, with its file and line if known."""
        place = self.places.get((kind, name))
        if place is None:
            return Problem(message, object_title(kind, name), field_name)
        parts = [*reversed(field_name.split(".")), field_name.partition("[")[0]]
        line = next((place.inner[part] for part in parts if part in place.inner), place.line)
        return Problem(message, object_title(kind, name), field_name, place.file, line)


def owner_of(definition: object) -> Owner:
    """The kind and name of a definition, whatever type its name has."""
    return Owner(KINDS.get(type(definition), type(definition).__name__), str(getattr(definition, "name", "")))


def object_title(kind: str, name: object) -> str:
    """The name of an object in problems."""
    return f"{kind} {brief(name)}"


def gather(objects: Iterable[Any], places: Mapping[int, Place] | None = None, known: Iterable[Problem] = ()) -> Definitions:
    """Gather the definitions in `objects` and those they refer to. `places` maps an object's id() to where it is defined.

    Different objects of the same kind and name, objects that are not definitions, and `known` become problems of the result.
    """
    problems = list(known)
    definitions: dict[tuple[str, str], Definition] = {}
    known_places: dict[tuple[str, str], Place] = {}
    for item in objects:
        for definition in _reachable(item, problems, places or {}):
            key = (KINDS[type(definition)], str(definition.name))
            # The policy of a view stands where the view does.
            origin = item if isinstance(definition, TablePolicy) else definition
            place = (places or {}).get(id(origin))
            if key in definitions and definitions[key] != definition:
                other = f" (the other is at {known_places[key].file}:{known_places[key].line})" if key in known_places else ""
                message = f"another {key[0]} of this name is defined differently{other}; give one of them another name"
                problems.append(Problem(message, object_title(*key), "name", place.file if place else None, place.line if place else None))
            definitions.setdefault(key, definition)
            if place:
                known_places.setdefault(key, place)
    return Definitions(
        tuple(item for item in definitions.values() if isinstance(item, Entity)),
        tuple(item for item in definitions.values() if isinstance(item, Source)),
        tuple(item for item in definitions.values() if isinstance(item, FeatureView)),
        tuple(item for item in definitions.values() if isinstance(item, FeatureService)),
        tuple(item for item in definitions.values() if isinstance(item, Grant)),
        tuple(item for item in definitions.values() if isinstance(item, TablePolicy)),
        known_places,
        tuple(problems),
    )


def _reachable(item: Any, problems: list[Problem], places: Mapping[int, Place]) -> list[Definition]:
    if isinstance(item, Selection):
        item = item.view
    if isinstance(item, Entity | Source | Grant | TablePolicy):
        return [item]
    if isinstance(item, FeatureView):
        parts: list[Definition] = []
        for name, expected in (("entity", Entity), ("source", Source)):
            part = getattr(item, name)
            if isinstance(part, expected):
                parts.append(part)
            else:
                problems.append(_problem(f"is {brief(part)}; it must be an object of {expected.__name__}", item, name, places))
        policy = item.policy
        return [*parts, item, *([] if policy is None else [policy])] if len(parts) == 2 else []
    if isinstance(item, FeatureService):
        members: list[Definition] = []
        for entry in item.features:
            if isinstance(entry, Selection):
                members.extend(_reachable(entry.view, problems, places))
            else:
                problems.append(_problem(f"{brief(entry)} is not a view or a selection of one", item, "features", places))
        return [*members, item]
    problems.append(Problem(f"{brief(item)} is not an Entity, Source, FeatureView, FeatureService, Grant or TablePolicy"))
    return []


def _problem(message: str, of: Definition, field_name: str, places: Mapping[int, Place]) -> Problem:
    kind = KINDS[type(of)]
    place = {(kind, str(of.name)): places[id(of)]} if id(of) in places else {}
    return Definitions(places=place).problem(kind, str(of.name), field_name, message)
