"""The policies of definitions in a plan: which change, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from featurestore.access.policies import Policies, apply_policies, find_policy, object_of
from featurestore.access.principal import check_groups
from featurestore.access.privileges import Kind
from featurestore.compiler.check import TIME_COLUMNS
from featurestore.compiler.check_policy import can_cast, policy_owner, policy_problems, unknown_columns
from featurestore.compiler.expressions import SqlProblem, parse_row, quote_name, render
from featurestore.compiler.typed_columns import UNTYPED, typed_nulls
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.dsl.problems import FieldProblem
from featurestore.errors import Problem, RequestError, brief, near
from featurestore.lakehouse import tables
from featurestore.pipelines.planning.step import Step
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.sources.expression_types import ExpressionTypes
from featurestore.values.humanize import format_names
from featurestore.values.table_names import folded

KIND = "policy"
HIDDEN_TIMES = ("created_timestamp",)
"""Columns of feature tables that masks and filters cannot read: the online store does not have them."""


@dataclass(frozen=True)
class PolicyObject:
    """What a policy is on: `columns` with their DuckDB types, and, of a view, the keys and the columns of its other versions."""

    columns: Mapping[str, str]
    keys: tuple[str, ...] = ()
    others: Mapping[str, Mapping[str, str]] | None = None

    @property
    def is_view(self) -> bool:
        """Whether it is a view, whose keys and times cannot be masked."""
        return self.others is not None

    @property
    def readable(self) -> dict[str, str]:
        """The columns that masks and filters may read."""
        return {name: sql_type for name, sql_type in self.columns.items() if not (self.is_view and name in HIDDEN_TIMES)}


def object_problems(
    runtime: Runtime, registry: Registry, definitions: Definitions, versions: Mapping[str, Applied], stored: Policies
) -> Iterator[Problem]:
    """Problems of policies with what they are on: of sound ones in definitions, and of those in force on views that change.

    `versions` are those of views that the plan leads to, and `stored` the policies in force.
    """
    declared = {policy.name: policy for policy in definitions.policies}
    in_force = {str(on): one.policy for on, one in stored.items() if on.kind is Kind.VIEW}
    for policy in declared.values():
        yield from map(definitions.locate, _spelling_problems(runtime, policy, stored))
        yield from map(definitions.locate, _object_problems(runtime, registry, versions, policy, before=in_force.get(policy.name)))
    for name, policy in in_force.items():
        if name not in declared and object_of(policy).name in versions:
            for problem in _object_problems(runtime, registry, versions, policy, drifted=True):
                message = f"{problem.field}: {problem.message}; this is the policy in force: declare it anew with the view"
                yield definitions.problem("view", object_of(policy).name, "masks", message)


def _spelling_problems(runtime: Runtime, policy: TablePolicy, stored: Policies) -> Iterator[FieldProblem]:
    """A problem if the table has a policy under its name in another case, which would stay in force under that."""
    on = object_of(policy)
    other = find_policy(stored, on)
    if other is None or other.on == on or on.kind is not Kind.TABLE:
        return
    loaded = [tables.find(runtime.catalog, name) for name in (on.name, other.on.name)]
    if None not in loaded and len({table.uuid for table in loaded if table is not None}) == 1:
        yield FieldProblem(policy_owner(policy), "table", f"is the table {other.on.name}, which has a policy under that name; write it so")


def policy_steps(definitions: Definitions, before: Policies) -> list[Step]:
    """A step for each policy, in the order of definitions; `before` are those in force."""
    steps = {}
    for policy in definitions.policies:
        stored = before.get(object_of(policy))
        result = Applied(KIND, policy.name, 1, "", documents.document(policy))
        if stored is None:
            steps[policy.name] = Step("create", KIND, policy.name, 1, _summary(policy), result)
        elif documents.document(stored.policy) == result.document:
            steps[policy.name] = Step("unchanged", KIND, policy.name, 1, "", result)
        else:
            steps[policy.name] = Step("change", KIND, policy.name, 1, f"{_summary(policy)}, in place of the one before", result)
    return list(steps.values())


def apply_policy_steps(runtime: Runtime, steps: Iterable[Step]) -> None:
    """Record the policies that the steps change. Raises: NotReady."""
    changed = [documents.policy(step.result.document) for step in steps if step.kind == KIND and step.action != "unchanged"]
    apply_policies(runtime, changed, runtime.author or None)


def _summary(policy: TablePolicy) -> str:
    parts = [
        *([f"masks {format_names(list(policy.masks))}"] if policy.masks else []),
        *(["filters rows"] if policy.rows is not None else []),
        *([f"declassifies {format_names(list(policy.declassify))}"] if policy.declassify else []),
        *(["declassifies rows"] if policy.declassify_rows else []),
    ]
    return "; ".join(parts) or "hides nothing"


def policy_group_problems(definitions: Definitions) -> Iterator[Problem]:
    """Problems of the groups that policies name, and of what is declassified where nothing can be."""
    for policy in definitions.policies:
        if not any(policy_problems(policy)):
            yield from map(definitions.locate, _group_problems(policy))


def _group_problems(policy: TablePolicy) -> Iterator[FieldProblem]:
    owner = policy_owner(policy)
    rules: list[tuple[str, Mask | RowFilter]] = [(f"masks.{name}", mask) for name, mask in policy.masks.items()]
    for field, rule in [*rules, *([] if policy.rows is None else [("rows", policy.rows)])]:
        try:
            check_groups(list(rule.unless), "unless")
        except RequestError as error:
            yield FieldProblem(owner, f"{field}.unless", error.message)
    if not policy.name.startswith("VIEW ") and (policy.declassify or policy.declassify_rows):
        yield FieldProblem(
            owner,
            "declassify" if policy.declassify else "declassify_rows",
            "only views are declassified; name the view whose features may show it",
        )


def _object_problems(
    runtime: Runtime,
    registry: Registry,
    versions: Mapping[str, Applied],
    policy: TablePolicy,
    *,
    drifted: bool = False,
    before: TablePolicy | None = None,
) -> Iterator[FieldProblem]:
    owner = policy_owner(policy)
    try:
        on = _find_object(runtime, registry, versions, policy)
    except RequestError as error:
        yield FieldProblem(owner, "table", error.message)
        return
    # Also features that only earlier versions have.
    known = [name for version in (on.columns, *(on.others or {}).values()) for name in version]
    maskable = {name for name in known if name not in on.keys and not (on.is_view and name in TIME_COLUMNS)}
    for name, mask in policy.masks.items():
        if name in known and name not in maskable:
            yield FieldProblem(owner, f"masks.{name}", "is a key or a time of the view, by which rows are joined; it cannot be masked")
        elif name not in maskable and not drifted:
            yield FieldProblem(owner, f"masks.{name}", f"no column {brief(name)}{near(name, maskable)}")
        elif name in on.columns:
            yield from (FieldProblem(owner, f"masks.{name}.sql", fault) for fault in unknown_columns(mask.sql, on.readable))
    if policy.rows is not None:
        yield from (FieldProblem(owner, "rows.sql", fault) for fault in unknown_columns(policy.rows.sql, on.readable))
    for name in policy.declassify:
        if name not in {*maskable, *on.keys} and not drifted:
            yield FieldProblem(owner, "declassify", f"no feature {brief(name)}{near(name, maskable)}")
    if before is not None and policy.masks:
        yield from _unmasked_problems(policy, before, on)
    for version, columns in {"": on.columns, **(on.others or {})}.items():
        yield from _type_problems(runtime, policy, columns, version)


def _unmasked_problems(policy: TablePolicy, before: TablePolicy, on: PolicyObject) -> Iterator[FieldProblem]:
    """Problems of masks that are missing beside others: of features that were masked, and that only earlier versions have. Who renames a
    feature, and masks its new name, would show it under the one before.
    """
    for name in before.masks:
        version = next((version for version, columns in (on.others or {}).items() if name in columns), None)
        if version is not None and name not in {*policy.masks, *policy.declassify, *on.columns}:
            message = f"{version} still has {brief(name)}, which is masked now; keep its mask, or declare it open: declassify=[{name!r}]"
            yield FieldProblem(policy_owner(policy), f"masks.{name}", message)


def _type_problems(runtime: Runtime, policy: TablePolicy, columns: Mapping[str, str], version: str) -> Iterator[FieldProblem]:
    """Problems with the types of one version; what reads a column that it lacks is hidden there, which is none."""
    owner, where = policy_owner(policy), f" in {version}" if version else ""
    scope = {name: quote_name(name) for name in columns}
    rules = {f"masks.{name}": mask.sql for name, mask in policy.masks.items() if name in columns}
    if policy.rows is not None:
        rules["rows"] = policy.rows.sql
    known = {field: sql for field, sql in rules.items() if not unknown_columns(sql, columns)}
    with runtime.engine.brief() as session:
        types = ExpressionTypes(session, typed_nulls(columns), columns)
        for field, sql in known.items():
            try:
                expression = render(parse_row(sql), scope)
            except SqlProblem as error:
                yield FieldProblem(owner, f"{field}.sql", str(error))
                continue
            sql_type = types.of(expression)
            if sql_type is None:
                yield FieldProblem(
                    owner, f"{field}.sql", f"{brief(sql)} does not work on the types of its columns{where}; cast what it reads"
                )
            elif field == "rows":
                if sql_type not in ("BOOLEAN", UNTYPED):
                    yield FieldProblem(owner, f"{field}.sql", f"{brief(sql)} is {sql_type}{where}; give a condition, which is BOOLEAN")
            else:
                column = field.removeprefix("masks.")
                message = f"{brief(sql)} is {sql_type}, which cannot be cast to {columns[column]}, the type of the column{where}"
                if not can_cast(sql_type, columns[column]) or _constant_fails(runtime, sql, expression, columns[column]):
                    yield FieldProblem(owner, f"{field}.sql", message)


def _constant_fails(runtime: Runtime, sql: str, expression: str, sql_type: str) -> bool:
    """Whether a mask that reads no column has no value of the type."""
    if unknown_columns(sql, ()):
        return False
    is_null, value = (f"({expression}) IS NULL", f"TRY_CAST(({expression}) AS {sql_type}) IS NULL")
    ((expected,), (found,)) = runtime.engine.evaluator.evaluate([is_null, value], {}, 1)
    return bool(found and not expected)


def _find_object(runtime: Runtime, registry: Registry, versions: Mapping[str, Applied], policy: TablePolicy) -> PolicyObject:
    """What a policy is on. Raises: RequestError saying what is wrong with its name."""
    name = object_of(policy).name
    if "." not in name:
        applied = versions.get(name) or registry.latest("view", name)
        if applied is None:
            raise RequestError(f"no view {brief(name)}{near(name, [*versions, *registry.names('view')])}; write a table with its namespace")
        entity = applied.document["entity"]
        others = {f"v{row.version}": row.columns for row in registry.rows.get(("view", name), ()) if row.version != applied.version}
        return PolicyObject(applied.columns, tuple(entity["keys"]), others)
    if any(folded(name).startswith(f"{folded(namespace)}.") for namespace in runtime.settings.own_namespaces):
        raise RequestError(f"{brief(name)} is one of the store's own tables; write the policy of the view instead")
    table = tables.find(runtime.catalog, name)
    if table is None:
        raise RequestError(f"no table {brief(name)} in the catalog")
    return PolicyObject(table_types(runtime, tables.arrow_schema(table)))


def table_types(runtime: Runtime, schema: pa.Schema) -> dict[str, str]:
    """The DuckDB types of the columns of a table."""
    with runtime.engine.brief() as session:
        return session.schema(session.add("columns", schema.empty_table()))
