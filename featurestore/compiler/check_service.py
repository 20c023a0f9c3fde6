"""Check a service: its features must exist, and its column names must be unique."""

from collections.abc import Iterator, Mapping, Sequence

from featurestore.compiler.expressions import RESERVED, SqlProblem, canonical, column_names, parse_row, resolve, struct_reads
from featurestore.dsl.agg import Aggregation
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.service import FeatureService
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import brief, near


def service_problems(service: FeatureService) -> Iterator[FieldProblem]:
    """All problems of one service."""
    owner = owner_of(service)
    # What already has each column name, in lower case.
    uses: dict[str, str] = {}
    yield from problems_at(owner, "features", _features_faults(service, uses))
    for name, type_name in service.request.items():
        yield from problems_at(owner, f"request.{name:.128}", _request_faults(name, type_name, uses))
        uses.setdefault(name.lower(), "a request field")
    readable = [*service.request, *(name for selection in service.selections for name in output_names(selection))]
    for name, sql in service.derived.items():
        yield from problems_at(owner, f"derived.{name:.128}", _derived_faults(name, sql, readable, uses))
        uses.setdefault(name.lower(), "a derived feature")


def _features_faults(service: FeatureService, uses: dict[str, str]) -> Iterator[str]:
    """Check that views, features and keys exist and have unique names; adds the names to `uses`."""
    if not service.features:
        yield "is empty; a service needs at least one view"
    labels: list[str] = []
    for selection in service.selections:
        label = label_of(selection)
        if label in labels:
            yield f"'{label}' is listed twice; list its features once, or give one use an alias: view.aliased('name', keys={{...}})"
        labels.append(label)
        yield from _selection_faults(selection)
        for name in output_names(selection):
            if name.lower() in uses:
                yield f"feature {brief(name)} of {label} is also {uses[name.lower()]}; alias one: {label}.aliased('name', keys={{...}})"
            uses.setdefault(name.lower(), f"a feature of {label}")
    for selection in service.selections:
        for column in request_keys(selection):
            if column.lower() in uses and uses[column.lower()] != "a key column":
                yield f"{brief(column)} is both a key column and {uses[column.lower()]}"
            uses.setdefault(column.lower(), "a key column")


def _selection_faults(selection: Selection) -> Iterator[str]:
    """Check that the selected features and keys exist in the view."""
    view = selection.view
    known = expanded_names(view)
    for name in selection.names or ():
        if name not in known:
            yield f"no feature {brief(name)} in {view.name}{near(name, known)}"
    if selection.names is not None and not selection.names:
        yield f"{view.name}[...] selects no feature"
    if len(set(selection.names or ())) < len(selection.names or ()):
        yield f"{view.name}[...] selects a feature twice"
    for key in selection.keys:
        if key not in view.entity.keys:
            yield f"no key {brief(key)} in {view.name}{near(key, view.entity.keys)}"


def _request_faults(name: str, type_name: str, uses: Mapping[str, str]) -> Iterator[str]:
    """Check that a request field has a name of its own and a type that exists."""
    if name.lower() in uses:
        yield f"{brief(name)} is also {uses[name.lower()]}; call the request field something else"
    if name.startswith(RESERVED):
        yield f"names that begin with {RESERVED} are the store's own"
    try:
        sql_type_of_name(type_name)
    except ValueError as error:
        yield str(error)


def _derived_faults(name: str, sql: str, readable: Sequence[str], uses: Mapping[str, str]) -> Iterator[str]:
    """Check that a derived feature has a name of its own and reads only request fields and features."""
    if name.lower() in uses:
        yield f"{brief(name)} is also {uses[name.lower()]}; call the derived feature something else"
    if not name.isidentifier() or name.startswith(RESERVED):
        yield f"{brief(name)} is not a feature name"
    if not isinstance(sql, str):
        yield f"is {brief(sql)}, but a derived feature is SQL text, such as 'basket / nullif(spend_30d, 0)'"
        return
    try:
        tree = parse_row(sql)
        canonical(sql)
    except SqlProblem as error:
        yield str(error)
        return
    for column in column_names(tree):
        if resolve(column, readable) is None:
            yield f"no request field or feature {brief(column)}{near(column, readable)}"
    for read in struct_reads(tree):
        hint = "write the name alone, or define the field as a separate feature"
        yield f"'{read}' reads a field of a struct, and neither a feature nor a request field is one; {hint}"


def expanded_names(view: FeatureView) -> tuple[str, ...]:
    """The names of a view's features, one per window of an aggregation; also for a view with problems."""
    names: list[str] = []
    for name, feature in view.declared.items():
        names.extend(feature.columns(name) if isinstance(feature, Aggregation) else [name])
    return tuple(names)


def label_of(selection: Selection) -> str:
    """The name of a selection in its service: that of the lookup, the alias, or the view's name."""
    return selection.lookup.label if selection.lookup is not None else selection.alias or selection.view.name


def output_names(selection: Selection) -> tuple[str, ...]:
    """The names of the selected features in the service, in the order of the selection."""
    names = expanded_names(selection.view) if selection.names is None else selection.names
    if selection.lookup is not None:
        return tuple(selection.lookup.rename.get(name, name) for name in names)
    return tuple(f"{selection.alias}_{name}" if selection.alias else name for name in names)


def request_keys(selection: Selection) -> tuple[str, ...]:
    """The request columns with the view's keys, in the order of the entity's keys."""
    return tuple(selection.keys.get(key, key) for key in selection.view.entity.keys)
