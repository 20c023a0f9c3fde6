"""Check a service: its features must exist, and its column names must be unique."""

from collections.abc import Iterator

from featurestore.compiler.expressions import RESERVED, SqlProblem, canonical, column_names, parse_row, resolve, struct_reads
from featurestore.dsl.agg import Aggregation
from featurestore.dsl.service import FeatureService
from featurestore.dsl.value_types import sql_type
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import brief, near


def service_problems(service: FeatureService) -> Iterator[tuple[str, str]]:
    """(field, message) of each problem of one service."""
    if not service.features:
        yield "features", "is empty; a service needs at least one view"
    owners: dict[str, str] = {}
    labels: list[str] = []
    for selection in service.selections:
        label = selection.alias or selection.view.name
        if label in labels:
            yield (
                "features",
                f"'{label}' is listed twice; list its features once, or give one use an alias: view.aliased('name', keys={{...}})",
            )
        labels.append(label)
        yield from selection_problems(selection)
        for name in output_names(selection):
            if name.lower() in owners:
                yield (
                    "features",
                    f"feature {brief(name)} of {label} is also {owners[name.lower()]}; alias one: {label}.aliased('name', keys={{...}})",
                )
            owners.setdefault(name.lower(), f"a feature of {label}")
    for selection in service.selections:
        for column in request_keys(selection):
            if column.lower() in owners and owners[column.lower()] != "a key column":
                yield "features", f"{brief(column)} is both a key column and {owners[column.lower()]}"
            owners.setdefault(column.lower(), "a key column")
    for name, type_name in service.request.items():
        field = f"request.{name:.128}"
        if name.lower() in owners:
            yield field, f"{brief(name)} is also {owners[name.lower()]}; call the request field something else"
        if name.startswith(RESERVED):
            yield field, f"names that begin with {RESERVED} are the store's own"
        owners.setdefault(name.lower(), "a request field")
        try:
            sql_type(type_name)
        except ValueError as error:
            yield field, str(error)
    yield from derived_problems(service, owners)


def selection_problems(selection: Selection) -> Iterator[tuple[str, str]]:
    """Check that the selected features and keys exist in the view."""
    view = selection.view
    known = unfolded_names(view)
    for name in selection.names or ():
        if name not in known:
            yield "features", f"no feature {brief(name)} in {view.name}{near(name, known)}"
    if selection.names is not None and not selection.names:
        yield "features", f"{view.name}[...] selects no feature"
    if len(set(selection.names or ())) < len(selection.names or ()):
        yield "features", f"{view.name}[...] selects a feature twice"
    for key in selection.keys:
        if key not in view.entity.keys:
            yield "features", f"no key {brief(key)} in {view.name}{near(key, view.entity.keys)}"


def derived_problems(service: FeatureService, owners: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Check that derived features read only request fields and features, and have unique names."""
    readable = [*service.request, *(name for selection in service.selections for name in output_names(selection))]
    for name, sql in service.derived.items():
        field = f"derived.{name:.128}"
        if name.lower() in owners:
            yield field, f"{brief(name)} is also {owners[name.lower()]}; call the derived feature something else"
        if not name.isidentifier() or name.startswith(RESERVED):
            yield field, f"{brief(name)} is not a feature name"
        owners.setdefault(name.lower(), "a derived feature")
        if not isinstance(sql, str):
            yield field, f"is {brief(sql)}, but a derived feature is SQL text, such as 'basket / nullif(spend_30d, 0)'"
            continue
        try:
            tree = parse_row(sql)
            canonical(sql)
        except SqlProblem as error:
            yield field, str(error)
            continue
        for column in column_names(tree):
            if resolve(column, readable) is None:
                yield field, f"no request field or feature {brief(column)}{near(column, readable)}"
        for read in struct_reads(tree):
            hint = "write the name alone, or define the field as a separate feature"
            yield field, f"'{read}' reads a field of a struct, and neither a feature nor a request field is one; {hint}"


def unfolded_names(view: FeatureView) -> tuple[str, ...]:
    """The names of a view's features, one per window of an aggregation; also for a view with problems."""
    names: list[str] = []
    for name, feature in view.declared.items():
        names.extend([f"{name}_{window}" for window in feature.over] if isinstance(feature, Aggregation) else [name])
    return tuple(names)


def output_names(selection: Selection) -> tuple[str, ...]:
    """The names of the selected features in the service, in the order of the selection."""
    names = unfolded_names(selection.view) if selection.names is None else selection.names
    return tuple(f"{selection.alias}_{name}" if selection.alias else name for name in names)


def request_keys(selection: Selection) -> tuple[str, ...]:
    """The request columns with the view's keys, in the order of the entity's keys."""
    return tuple(selection.keys.get(key, key) for key in selection.view.entity.keys)
