"""A plan is data: the steps that would bring the registry and the feature tables to what the definitions say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from featurestore.compiler import check
from featurestore.compiler.fingerprint import service_fingerprint, view_fingerprint
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView
from featurestore.errors import DefinitionError, Problem
from featurestore.pipelines.inspect import inspect, inspect_checks, inspect_names
from featurestore.pipelines.inspected import placed
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.registry import Applied, Registry, read

Action = Literal["create", "new version", "update words", "unchanged"]


@dataclass(frozen=True)
class Step:
    """One thing to do, or `unchanged`. `result` is the registry row it leads to; `sql` is set for views that change."""

    action: Action
    kind: str
    name: str
    version: int
    reason: str
    result: Applied

    @property
    def sql(self) -> str | None:
        """The SQL that will compute a view's rows; None for other kinds."""
        return self.result.sql or None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form for people and programs."""
        return {name: getattr(self, name) for name in ("action", "kind", "name", "version", "reason", "sql")}


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they are done; `base` is the registry's snapshot that the plan was made on."""

    steps: tuple[Step, ...]
    definitions: Definitions = field(repr=False)
    base: int | None

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return any(step.action != "unchanged" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form for people and programs."""
        return {"changed": self.changed, "steps": [step.to_dict() for step in self.steps]}

    def __str__(self) -> str:
        rows = [(step.action, f"{step.kind} {step.name}", f"v{step.version}", step.reason) for step in self.steps]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows
        )


def plan(parts: Parts, definitions: Definitions) -> Plan:
    """What applying these definitions would do. What the catalog holds besides them is left alone.

    Raises: DefinitionError with every problem of every definition, its SQL held against the sources' columns.
    """
    problems = [*definitions.problems, *check.problems(definitions)]
    wrong = {problem.object for problem in problems}
    registry = read(parts)
    steps = [
        *(_plain_step(registry, "entity", item.name, documents.document(item)) for item in definitions.entities),
        *(_plain_step(registry, "source", item.name, documents.document(item)) for item in definitions.sources),
    ]
    sound = [
        view
        for view in definitions.views
        if not wrong & {f"view '{view.name}'", f"source '{view.source.name}'", f"entity '{view.entity.name}'"}
    ]
    for view in definitions.views:
        if view not in sound and f"source '{view.source.name}'" not in wrong:
            problems.extend(placed(definitions, view, field, message) for field, message in inspect_names(parts, view))
    views = [_view_step(parts, registry, view, definitions, problems) for view in sound]
    if problems:
        raise DefinitionError(problems)
    versions = {step.name: step.result for step in views if step is not None}
    services = [_service_step(registry, service, versions) for service in definitions.services]
    return Plan((*steps, *(step for step in views if step is not None), *services), definitions, registry.snapshot_id)


def _plain_step(registry: Registry, kind: str, name: str, document: Mapping[str, Any]) -> Step:
    held = registry.latest(kind, name)
    result = Applied(kind, name, 1, "", document)
    if held is None:
        return Step("create", kind, name, 1, "new", result)
    if held.document == result.document:
        return Step("unchanged", kind, name, 1, "", held)
    return Step("update words", kind, name, 1, _changed(held.document, document), result)


def _view_step(parts: Parts, registry: Registry, view: FeatureView, definitions: Definitions, problems: list[Problem]) -> Step | None:
    held = registry.latest("view", view.name)
    fingerprint = view_fingerprint(view)
    document = documents.document(view)
    if held is not None and view_fingerprint(registry.view(held)) == fingerprint:
        # Read and spelled anew, as a later release than the one that wrote it may spell a definition otherwise.
        before = documents.document(registry.view(held))
        if before == document:
            return Step("unchanged", "view", view.name, held.version, "", held)
        problems.extend(placed(definitions, view, field, message) for field, message in inspect_checks(parts, view, held.columns))
        result = Applied("view", view.name, held.version, held.fingerprint, document, held.columns, {}, held.sql)
        return Step("update words", "view", view.name, held.version, _changed(before, document), result)
    found = inspect(parts, view)
    problems.extend(placed(definitions, view, field, message) for field, message in found.problems)
    if found.compiled is None:
        return None
    problems.extend(placed(definitions, view, field, message) for field, message in inspect_checks(parts, view, found.columns))
    version = 1 if held is None else held.version + 1
    result = Applied("view", view.name, version, fingerprint, document, found.columns, {}, found.compiled.sql)
    if held is None:
        return Step("create", "view", view.name, version, f"new, {len(found.columns) - len(view.entity.keys) - 2} features", result)
    return Step(
        "new version",
        "view",
        view.name,
        version,
        f"{_changed(held.document, document)}; v{held.version} stays for those who use it",
        result,
    )


def _service_step(registry: Registry, service: FeatureService, views: Mapping[str, Applied]) -> Step:
    used = {selection.view.name: views[selection.view.name] for selection in service.selections}
    fingerprint = service_fingerprint(service, {name: view.fingerprint for name, view in used.items()})
    bindings = {name: view.version for name, view in used.items()}
    held = registry.latest("service", service.name)
    version = 1 if held is None else held.version
    document = documents.document(service)
    result = Applied("service", service.name, version, fingerprint, document, {}, bindings)
    if held is None:
        return Step("create", "service", service.name, 1, "new", result)
    if held.bindings == bindings and service_fingerprint(registry.service(held), _fingerprints(registry, held)) == fingerprint:
        if documents.document(registry.service(held)) == document:
            return Step("unchanged", "service", service.name, version, "", held)
        return Step("update words", "service", service.name, version, "words changed", result)
    moved = [f"{name} moves to v{number}" for name, number in bindings.items() if held.bindings.get(name) not in (None, number)]
    reason = ", ".join(moved) or _changed(held.document, document)
    result = Applied("service", service.name, version + 1, fingerprint, document, {}, bindings)
    return Step("new version", "service", service.name, version + 1, reason, result)


def _fingerprints(registry: Registry, held: Applied) -> dict[str, str]:
    return {name: registry.get("view", name, version).fingerprint for name, version in held.bindings.items()}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The fields that differ, one level into dicts, such as `features.orders_7d`."""
    names: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names.extend(f"{name}.{inner}" for inner in dict.fromkeys([*old, *new]) if old.get(inner) != new.get(inner))
        else:
            names.append(name)
    return f"{', '.join(names)} changed" if names else "order of features changed"
