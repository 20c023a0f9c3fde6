"""A plan is data: the steps that would bring the registry and the feature tables to the state of the definitions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore.access.policies import read_policies
from featurestore.access.rights import OPERATOR, Rights
from featurestore.compiler import check
from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.check_pushed import pushed_problems
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import service_fingerprint, view_fingerprint
from featurestore.compiler.views import compile_view
from featurestore.dsl import documents
from featurestore.dsl.definitions import KINDS, Definitions, object_title, owner_of
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import is_address
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict, DefinitionError, Problem, RequestError
from featurestore.files import confinement
from featurestore.files.locations import refuse_location
from featurestore.pipelines.planning import cost
from featurestore.pipelines.planning.authority import Author
from featurestore.pipelines.planning.catalog_state import CatalogState, load_catalog_state
from featurestore.pipelines.planning.changed_sources import inspect_if_changed
from featurestore.pipelines.planning.cost import Read
from featurestore.pipelines.planning.derived_types import derived_type_problems
from featurestore.pipelines.planning.grants import grant_problems, grant_steps
from featurestore.pipelines.planning.impact import with_impact
from featurestore.pipelines.planning.local_names import other_catalogs, with_local_names
from featurestore.pipelines.planning.policies import object_problems, policy_group_problems, policy_steps
from featurestore.pipelines.planning.policy_lineage import lineage_problems
from featurestore.pipelines.planning.step import Step, sql_diff
from featurestore.records import stored_definition
from featurestore.records.definitions import Applied, Registry, read_registry
from featurestore.records.runtime import Runtime
from featurestore.sources.bind import Inspected
from featurestore.sources.inspect_source import SourceInspector, inspect_checks
from featurestore.sources.kept.copied_table import find_copy
from featurestore.sources.kept.pushed_table import table_columns
from featurestore.sources.type_changes import type_changes
from featurestore.values.humanize import format_names


@dataclass(frozen=True)
class Plan:
    """Steps in execution order; `base` is the registry's snapshot for which the plan was made.

    `others` are (kind, name) of definitions that are only in the catalog; a plan does not change them.
    """

    steps: tuple[Step, ...]
    definitions: Definitions = field(repr=False)
    base: int | None
    others: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a step changes anything."""
        return any(step.action != "unchanged" for step in self.steps)

    @property
    def reads(self) -> Read:
        """The sum of what all backfills read."""
        return cost.total(read for step in self.steps for read in step.reads)

    @property
    def groups(self) -> tuple[list[Step], str, list[Step]]:
        """For display: the steps that change something, the number of unchanged ones as text, and those of them with a reason."""
        changes = [step for step in self.steps if step.action != "unchanged"]
        same = len(self.steps) - len(changes)
        count = f"{same} definition{'' if same == 1 else 's'} unchanged" if same else ""
        return changes, count, [step for step in self.steps if step.action == "unchanged" and step.reason]

    @property
    def remarks(self) -> list[str]:
        """Remarks about the plan as a whole, one line each."""
        remarks: list[str] = []
        if sum(bool(step.reads) for step in self.steps) > 1:
            remarks.append(f"backfills read {self.reads.amount} in all")
        # Only for definitions from files, which are meant to be complete, unlike a list of objects.
        if self.others and self.definitions.places:
            remarks.append(f"only in the catalog, and not changed: {format_names([' '.join(other) for other in self.others])}")
        return remarks

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


def make_plan(runtime: Runtime, definitions: Definitions, rights: Rights = OPERATOR) -> Plan:
    """Plan how somebody with these rights applies these definitions; other definitions in the catalog are not changed.

    Raises: DefinitionError with all problems of all definitions, including SQL that does not fit the sources' columns; Forbidden with all
    that is refused, before anything is looked at that the definitions name.
    """
    # As the store, after the author's rights have been checked: that is how views are computed too.
    runtime = runtime.as_operator()
    written, definitions = definitions, with_local_names(definitions, runtime.settings.catalog_name)
    registry = read_registry(runtime)
    author = Author(runtime, registry, rights)
    closed = author.check(definitions)
    problems = [*definitions.problems, *check.definition_problems(definitions), *_forbidden_files(runtime, definitions)]
    problems.extend(_taken_names(registry, definitions))
    problems.extend(_pushed_problems(runtime, definitions))
    problems.extend(other_catalogs(runtime, definitions))
    problems.extend(grant_problems(runtime, definitions))
    problems.extend(policy_group_problems(definitions))
    wrong = {problem.object for problem in problems}
    steps = [
        *(_unversioned_step(registry, "entity", item.name, documents.document(item)) for item in definitions.entities),
        *(_unversioned_step(registry, "source", item.name, documents.document(item)) for item in definitions.sources),
    ]
    sound = [view for view in definitions.views if not wrong & {object_title(*owner_of(item)) for item in (view, view.source, view.entity)}]
    state = load_catalog_state(runtime, registry, definitions, sound, wrong, closed)
    with SourceInspector(runtime) as inspector:
        for view in definitions.views:
            if view not in sound and view.name in state.sources:
                problems.extend(map(definitions.locate, inspector.name_problems(view, state.sources[view.name])))
        views = [step for view in sound if (step := _view_step(runtime, inspector, state, view, definitions, problems)) is not None]
    if problems:
        raise DefinitionError(problems)
    versions = {step.name: step.result for step in views}
    services = [_service_step(registry, service, versions) for service in definitions.services]
    problems.extend(_derived_problems(runtime, definitions, services, versions))
    stored = read_policies(runtime)
    problems.extend(object_problems(runtime, registry, definitions, versions, stored))
    problems.extend(author.own_problems(definitions, lineage_problems(runtime, registry, definitions, versions, stored)))
    if problems:
        raise DefinitionError(problems)
    author.check_steps((*steps, *views, *services))
    access = (*grant_steps(runtime, definitions), *policy_steps(definitions, stored))
    done = [author.without_hidden_models(step) for step in with_impact(runtime, (*steps, *views, *services, *access), state)]
    others = _others(registry, {(step.kind, step.name) for step in done})
    return Plan(tuple(done), written, registry.snapshot_id, tuple(other for other in others if author.sees(*other)))


def _forbidden_files(runtime: Runtime, definitions: Definitions) -> Iterator[Problem]:
    """A problem for each source with files that the caller may not read."""
    folders, locations = runtime.source_folders, runtime.source_locations
    for source in definitions.sources:
        place = source.path if source.url is None else source.url.partition("?")[0]
        if folders is None or not isinstance(place, str):
            continue
        try:
            if is_address(place):
                refuse_location(place, locations)
            elif source.url is None:
                confinement.refuse_pattern(place, folders)
        except RequestError as error:
            yield definitions.problem("source", source.name, "path" if source.url is None else "url", error.message)


def _taken_names(registry: Registry, definitions: Definitions) -> Iterator[Problem]:
    """A problem for each view with the name of a table whose rows are written by key."""
    for view in definitions.views:
        if (current := registry.latest("view", view.name)) is not None and current.written:
            message = "a table of this name was made by create_table; call the view something else, or remove the table with remove-view"
            yield definitions.problem("view", view.name, "name", message)


def _pushed_problems(runtime: Runtime, definitions: Definitions) -> Iterator[Problem]:
    """A problem for each source whose rows are pushed, if there is no log for them, or its table has another type of a column."""
    for source in definitions.sources:
        if not source.pushed or any(pushed_problems(source)):
            continue
        try:
            table_columns(source, find_copy(runtime, source))
        except Conflict as error:
            yield definitions.problem("source", source.name, "schema", error.message)
        if runtime.settings.push_log_url() is None:
            message = (
                "rows that are pushed need a log, which is by default beside a catalog on this machine: set push_log to the address of one"
            )
            yield definitions.problem("source", source.name, "schema", message)


def _unversioned_step(registry: Registry, kind: str, name: str, document: Mapping[str, Any]) -> Step:
    current = registry.latest(kind, name)
    result = Applied(kind, name, 1, "", document)
    if current is None:
        return Step("create", kind, name, 1, "new", result)
    if current.document == result.document:
        return Step("unchanged", kind, name, 1, "", current)
    return Step("update words", kind, name, 1, _changed_fields(current.document, document), result)


def _view_step(
    runtime: Runtime, inspector: SourceInspector, state: CatalogState, view: FeatureView, definitions: Definitions, problems: list[Problem]
) -> Step | None:
    if view.name in state.closed:
        return Step("unchanged", "view", view.name, state.same[view.name].version, "", state.same[view.name])
    current, source, document = state.same.get(view.name), state.sources[view.name], documents.document(view)
    if current is None:
        return _next_version_step(runtime, state.registry, view, inspector.inspect(view, source), definitions, problems)
    inspected = inspect_if_changed(inspector, view, source, state.tables[current.table])
    if inspected is not None and type_changes(current.columns, inspected.columns):
        return _next_version_step(runtime, state.registry, view, inspected, definitions, problems)
    problem_text = "" if inspected is None else "; ".join(map(str, inspected.problems))
    reason = f"cannot be materialized: {problem_text}" if problem_text else ""
    # Parsed and written again, because releases may write the same definition differently.
    before = documents.document(state.registry.view(current))
    if before == document:
        return Step("unchanged", "view", view.name, current.version, reason, current)
    problems.extend(map(definitions.locate, inspect_checks(runtime, view, current.columns)))
    result = replace(current, document=document)
    return Step(
        "update words", "view", view.name, current.version, "; ".join(filter(None, (_changed_fields(before, document), reason))), result
    )


def _next_version_step(
    runtime: Runtime, registry: Registry, view: FeatureView, inspected: Inspected, definitions: Definitions, problems: list[Problem]
) -> Step | None:
    """The step to another version of a view: an earlier one with the same fingerprint and types, or a new one."""
    problems.extend(map(definitions.locate, inspected.problems))
    if inspected.events is None:
        return None
    problems.extend(map(definitions.locate, inspect_checks(runtime, view, inspected.columns)))
    current = registry.latest("view", view.name)
    document, fingerprint, rank = documents.document(view), view_fingerprint(view), registry.next_rank("view", view.name)
    for earlier in reversed(registry.rows.get(("view", view.name), ())):
        if (
            earlier != current
            and registry.current_fingerprint(earlier) == fingerprint
            and not type_changes(earlier.columns, inspected.columns)
        ):
            result = replace(earlier, document=document, rank=rank)
            return Step(
                "roll back",
                "view",
                view.name,
                earlier.version,
                _rollback_reason(current, earlier),
                result,
                diff=sql_diff(current or earlier, result),
            )
    version = registry.next_version("view", view.name)
    own_rank = 0 if rank == version else rank
    sql = compile_view(view, inspected.events, inspected.types).sql
    result = Applied("view", view.name, version, fingerprint, document, inspected.columns, {}, sql, rank=own_rank)
    if current is None:
        count = len(feature_names(view))
        return Step("create", "view", view.name, version, f"new, {count} feature{'' if count == 1 else 's'}", result)
    types = [] if current.fingerprint != fingerprint else type_changes(current.columns, inspected.columns)
    changed = "; ".join(change.within(current.table) for change in types) or _changed_view(registry, current, document)
    reason = f"{changed}; v{current.version} remains for its users"
    return Step("new version", "view", view.name, version, reason, result, diff=sql_diff(current, result))


def _rollback_reason(current: Applied | None, earlier: Applied) -> str:
    return f"equal to v{earlier.version}, which exists{'' if current is None else f'; v{current.version} remains'}"


def _service_step(registry: Registry, service: FeatureService, views: Mapping[str, Applied]) -> Step:
    used = {selection.view.name: views[selection.view.name] for selection in service.selections}
    fingerprint = service_fingerprint(service, {name: view.fingerprint for name, view in used.items()})
    bindings = {name: view.version for name, view in used.items()}
    current = registry.latest("service", service.name)
    document = documents.document(service)
    if current is None:
        version = registry.next_version("service", service.name)
        return Step("create", "service", service.name, version, "new", _service_row(service, version, fingerprint, bindings))
    result = replace(_service_row(service, current.version, fingerprint, bindings), rank=current.rank)
    if _is_equivalent(registry, current, bindings, fingerprint):
        if documents.document(registry.service(current)) == document:
            return Step("unchanged", "service", service.name, current.version, "", current)
        return Step("update words", "service", service.name, current.version, "description, owner or tags changed", result)
    rank = registry.next_rank("service", service.name)
    moved = [f"{name} moves to v{number}" for name, number in bindings.items() if current.bindings.get(name) not in (None, number)]
    for earlier in reversed(registry.rows["service", service.name]):
        if _is_equivalent(registry, earlier, bindings, fingerprint):
            reason = "; ".join(filter(None, (format_names(moved), _rollback_reason(current, earlier))))
            row = _service_row(service, earlier.version, fingerprint, bindings)
            return Step("roll back", "service", service.name, earlier.version, reason, replace(row, rank=rank))
    reason = format_names(moved) or _changed_fields(current.document, document)
    version = registry.next_version("service", service.name)
    row = replace(_service_row(service, version, fingerprint, bindings), rank=0 if rank == version else rank)
    return Step("new version", "service", service.name, version, reason, row)


def _is_equivalent(registry: Registry, row: Applied, bindings: Mapping[str, int], fingerprint: str) -> bool:
    """Whether a version of a service has these view versions and this fingerprint."""
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
    """Problems of derived features with the types of their service's views, also if only those types have changed."""
    views = {view.name: ViewVersion(view, versions[view.name].version, versions[view.name].columns) for view in definitions.views}
    for service, step in zip(definitions.services, steps, strict=True):
        if step.action != "unchanged":
            yield from map(definitions.locate, derived_type_problems(runtime, bind_service(service, step.version, "", views)))


def _service_row(service: FeatureService, version: int, fingerprint: str, bindings: Mapping[str, int]) -> Applied:
    return Applied("service", service.name, version, fingerprint, documents.document(service), {}, bindings)


def _others(registry: Registry, planned: set[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((kind, name) for kind in KINDS.values() for name in registry.names(kind) if (kind, name) not in planned)


def _fingerprints(registry: Registry, current: Applied) -> dict[str, str]:
    return {name: registry.get("view", name, version).fingerprint for name, version in current.bindings.items()}


def _changed_view(registry: Registry, current: Applied, after: Mapping[str, Any]) -> str:
    try:
        # As in `_view_step`.
        return _changed_fields(documents.document(registry.view(current)), after)
    except Conflict:
        return "the stored definition cannot be read"


def _changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The fields that differ, also inside dicts: `features.orders_7d`."""
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
