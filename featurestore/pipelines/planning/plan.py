"""A plan is data: the steps that would bring the registry and the feature tables to what the definitions say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore.compiler import check
from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import service_fingerprint, view_fingerprint
from featurestore.dsl import documents
from featurestore.dsl.definitions import KINDS, Definitions, object_title, owner_of
from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict, DefinitionError, Problem, RequestError
from featurestore.files import confinement
from featurestore.pipelines.planning import cost
from featurestore.pipelines.planning.catalog_state import CatalogState, look
from featurestore.pipelines.planning.cost import Read
from featurestore.pipelines.planning.derived_types import derived_type_problems
from featurestore.pipelines.planning.impact import told
from featurestore.pipelines.planning.step import Step, sql_diff
from featurestore.pipelines.planning.underneath import inspect_if_changed
from featurestore.records import stored_definition
from featurestore.records.definitions import Applied, Registry, read_registry
from featurestore.records.runtime import Runtime
from featurestore.sources.bind import Inspected
from featurestore.sources.inspect_source import inspect_checks, inspect_names, inspect_source
from featurestore.sources.type_changes import type_changes
from featurestore.values.humanize import format_names


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they are done; `base` is the registry's snapshot that the plan was made on.

    `others` are (kind, name) of what the catalog has and these definitions have not. It is left alone.
    """

    steps: tuple[Step, ...]
    definitions: Definitions = field(repr=False)
    base: int | None
    others: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return any(step.action != "unchanged" for step in self.steps)

    @property
    def reads(self) -> Read:
        """What all backfills together read."""
        return cost.total(read for step in self.steps for read in step.reads)

    @property
    def groups(self) -> tuple[list[Step], str, list[Step]]:
        """As people read it: what changes, how much does not, and what of that waits for a backfill."""
        changes = [step for step in self.steps if step.action != "unchanged"]
        same = len(self.steps) - len(changes)
        count = f"{same} definition{'' if same == 1 else 's'} unchanged" if same else ""
        return changes, count, [step for step in self.steps if step.action == "unchanged" and step.reason]

    @property
    def remarks(self) -> list[str]:
        """What to know of the whole, a line each."""
        found: list[str] = []
        if sum(bool(step.reads) for step in self.steps) > 1:
            found.append(f"backfills read {self.reads.amount} in all")
        # Files are meant to be all there is; a list of objects is a part by its nature.
        if self.others and self.definitions.places:
            found.append(
                f"in the catalog, not in these definitions, left alone: {format_names([' '.join(other) for other in self.others])}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form for people and programs."""
        others = [{"kind": kind, "name": name} for kind, name in self.others]
        return {"changed": self.changed, "steps": [step.to_dict() for step in self.steps], "others": others}

    def __str__(self) -> str:
        changes, same, waiting = self.groups
        shown = [*changes, *waiting]
        words = [step.word for step in shown]
        rows = [(word, f"{step.kind} {step.name}", f"v{step.version}") for word, step in zip(words, shown, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        heads = ["  ".join([*map(str.ljust, row, widths), step.reason]).rstrip() for row, step in zip(rows, shown, strict=True)]
        lines = ["\n    ".join([head, *step.notes]) for head, step in zip(heads, shown, strict=True)]
        return "\n".join([*lines[: len(changes)], *([same] if same else []), *lines[len(changes) :], *self.remarks])


def make_plan(runtime: Runtime, definitions: Definitions) -> Plan:
    """What applying these definitions would do. What the catalog holds besides them is left alone.

    Raises: DefinitionError with every problem of every definition, its SQL held against the sources' columns.
    """
    problems = [*definitions.problems, *check.definition_problems(definitions), *_forbidden_files(runtime, definitions)]
    wrong = {problem.object for problem in problems}
    registry = read_registry(runtime)
    steps = [
        *(_plain_step(registry, "entity", item.name, documents.document(item)) for item in definitions.entities),
        *(_plain_step(registry, "source", item.name, documents.document(item)) for item in definitions.sources),
    ]
    sound = [view for view in definitions.views if not wrong & {object_title(*owner_of(item)) for item in (view, view.source, view.entity)}]
    state = look(runtime, registry, definitions, sound, wrong)
    for view in definitions.views:
        if view not in sound and view.name in state.sources:
            named = inspect_names(runtime, view, state.sources[view.name])
            problems.extend(map(definitions.locate, named))
    views = [step for view in sound if (step := _view_step(runtime, state, view, definitions, problems)) is not None]
    if problems:
        raise DefinitionError(problems)
    versions = {step.name: step.result for step in views}
    services = [_service_step(registry, service, versions) for service in definitions.services]
    problems.extend(_derived_problems(runtime, definitions, services, versions))
    if problems:
        raise DefinitionError(problems)
    done = told(runtime, (*steps, *views, *services), state)
    return Plan(done, definitions, registry.snapshot_id, _others(registry, {(step.kind, step.name) for step in done}))


def _forbidden_files(runtime: Runtime, definitions: Definitions) -> Iterator[Problem]:
    """Sources that name files which whoever asks may not have read."""
    folders = runtime.source_folders
    for source in definitions.sources:
        if folders is None or source.path is None:
            continue
        try:
            confinement.refuse_pattern(source.path, folders)
        except RequestError as error:
            yield definitions.problem("source", source.name, "path", error.message)


def _plain_step(registry: Registry, kind: str, name: str, document: Mapping[str, Any]) -> Step:
    held = registry.latest(kind, name)
    result = Applied(kind, name, 1, "", document)
    if held is None:
        return Step("create", kind, name, 1, "new", result)
    if held.document == result.document:
        return Step("unchanged", kind, name, 1, "", held)
    return Step("update words", kind, name, 1, _changed(held.document, document), result)


def _view_step(runtime: Runtime, state: CatalogState, view: FeatureView, definitions: Definitions, problems: list[Problem]) -> Step | None:
    held, source, document = state.same.get(view.name), state.sources[view.name], documents.document(view)
    if held is None:
        return _moved_view_step(runtime, state.registry, view, inspect_source(runtime, view, source), definitions, problems)
    found = inspect_if_changed(runtime, view, source, state.tables[held.table])
    if found is not None and type_changes(held.columns, found.columns):
        return _moved_view_step(runtime, state.registry, view, found, definitions, problems)
    stopped = "" if found is None else "; ".join(map(str, found.problems))
    reason = f"cannot be materialized: {stopped}" if stopped else ""
    # Read and spelled anew, as a later release than the one that wrote it may spell a definition otherwise.
    before = documents.document(state.registry.view(held))
    if before == document:
        return Step("unchanged", "view", view.name, held.version, reason, held)
    problems.extend(map(definitions.locate, inspect_checks(runtime, view, held.columns)))
    result = replace(held, document=document)
    return Step("update words", "view", view.name, held.version, "; ".join(filter(None, (_changed(before, document), reason))), result)


def _moved_view_step(
    runtime: Runtime, registry: Registry, view: FeatureView, found: Inspected, definitions: Definitions, problems: list[Problem]
) -> Step | None:
    """The step to another version than the current one: an earlier one of the same meaning and types, or one that is new."""
    problems.extend(map(definitions.locate, found.problems))
    if found.compiled is None:
        return None
    problems.extend(map(definitions.locate, inspect_checks(runtime, view, found.columns)))
    held = registry.latest("view", view.name)
    document, fingerprint, rank = documents.document(view), view_fingerprint(view), registry.next_rank("view", view.name)
    for earlier in reversed(registry.rows.get(("view", view.name), ())):
        if earlier != held and registry.current_fingerprint(earlier) == fingerprint and not type_changes(earlier.columns, found.columns):
            result = replace(earlier, document=document, rank=rank)
            return Step(
                "roll back", "view", view.name, earlier.version, _back(held, earlier), result, diff=sql_diff(held or earlier, result)
            )
    version = registry.next_version("view", view.name)
    own_rank = 0 if rank == version else rank
    result = Applied("view", view.name, version, fingerprint, document, found.columns, {}, found.compiled.sql, rank=own_rank)
    if held is None:
        count = len(feature_names(view))
        return Step("create", "view", view.name, version, f"new, {count} feature{'' if count == 1 else 's'}", result)
    types = [] if held.fingerprint != fingerprint else type_changes(held.columns, found.columns)
    changed = "; ".join(change.within(held.table) for change in types) or _changed_view(registry, held, document)
    reason = f"{changed}; v{held.version} stays for those who use it"
    return Step("new version", "view", view.name, version, reason, result, diff=sql_diff(held, result))


def _back(held: Applied | None, earlier: Applied) -> str:
    return f"means what v{earlier.version} does, which is there already{'' if held is None else f'; v{held.version} stays as it is'}"


def _service_step(registry: Registry, service: FeatureService, views: Mapping[str, Applied]) -> Step:
    used = {selection.view.name: views[selection.view.name] for selection in service.selections}
    fingerprint = service_fingerprint(service, {name: view.fingerprint for name, view in used.items()})
    bindings = {name: view.version for name, view in used.items()}
    held = registry.latest("service", service.name)
    document = documents.document(service)
    if held is None:
        version = registry.next_version("service", service.name)
        return Step("create", "service", service.name, version, "new", _service_row(service, version, fingerprint, bindings))
    result = replace(_service_row(service, held.version, fingerprint, bindings), rank=held.rank)
    if _means(registry, held, bindings, fingerprint):
        if documents.document(registry.service(held)) == document:
            return Step("unchanged", "service", service.name, held.version, "", held)
        return Step("update words", "service", service.name, held.version, "words changed", result)
    rank = registry.next_rank("service", service.name)
    moved = [f"{name} moves to v{number}" for name, number in bindings.items() if held.bindings.get(name) not in (None, number)]
    for earlier in reversed(registry.rows["service", service.name]):
        if _means(registry, earlier, bindings, fingerprint):
            reason = "; ".join(filter(None, (format_names(moved), _back(held, earlier))))
            row = _service_row(service, earlier.version, fingerprint, bindings)
            return Step("roll back", "service", service.name, earlier.version, reason, replace(row, rank=rank))
    reason = format_names(moved) or _changed(held.document, document)
    version = registry.next_version("service", service.name)
    row = replace(_service_row(service, version, fingerprint, bindings), rank=0 if rank == version else rank)
    return Step("new version", "service", service.name, version, reason, row)


def _means(registry: Registry, row: Applied, bindings: Mapping[str, int], fingerprint: str) -> bool:
    """Whether a version of a service reads these versions of its views, and makes the same of them."""
    if row.bindings != bindings:
        return False
    try:
        with stored_definition.conflict_if_unreadable(f"service {row.name}, version {row.version}"):
            return service_fingerprint(registry.service(row), _fingerprints(registry, row)) == fingerprint
    except Conflict:
        return False


def _derived_problems(
    runtime: Runtime, definitions: Definitions, steps: Sequence[Step], versions: Mapping[str, Applied]
) -> Iterator[Problem]:
    """Derived features that do not work on the types that their service's views have now; also where only those changed."""
    views = {view.name: ViewVersion(view, versions[view.name].version, versions[view.name].columns) for view in definitions.views}
    for service, step in zip(definitions.services, steps, strict=True):
        if step.action != "unchanged":
            yield from map(definitions.locate, derived_type_problems(runtime, bind_service(service, step.version, "", views)))


def _service_row(service: FeatureService, version: int, fingerprint: str, bindings: Mapping[str, int]) -> Applied:
    return Applied("service", service.name, version, fingerprint, documents.document(service), {}, bindings)


def _others(registry: Registry, planned: set[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((kind, name) for kind in KINDS.values() for name in registry.names(kind) if (kind, name) not in planned)


def _fingerprints(registry: Registry, held: Applied) -> dict[str, str]:
    return {name: registry.get("view", name, version).fingerprint for name, version in held.bindings.items()}


def _changed_view(registry: Registry, held: Applied, after: Mapping[str, Any]) -> str:
    try:
        # Read and spelled anew, as an earlier release may have spelled it otherwise.
        return _changed(documents.document(registry.view(held)), after)
    except Conflict:
        return "what the catalog holds cannot be read"


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
