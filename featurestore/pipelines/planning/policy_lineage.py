"""Policies follow lineage: what is computed from masked columns or filtered rows is masked and filtered too, or declared open."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from featurestore.access.policies import Policies, object_of
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.column_uses import ALL_COLUMNS, NO_COLUMN, VALUE, Use, Uses
from featurestore.compiler.lineage.view_lineage import Lineage, source_tables, trace_view
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.policy import TablePolicy
from featurestore.errors import Conflict, Problem
from featurestore.pipelines.lineage.store_lineage import column_names
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.values.humanize import format_names
from featurestore.values.table_names import folded, is_in

Groups = frozenset[str]
ROWS = NO_COLUMN
"""The column under which it is noted that rows of a table are filtered."""


@dataclass(frozen=True)
class Hidden:
    """A column, or the rows of a table, that is hidden from all but the members of some groups; `way` is how it got there."""

    unless: Groups
    way: str


@dataclass(frozen=True)
class TracedVersion:
    """A version of a view with its lineage and the policy that it will have; `table` is its feature table with its namespace, as
    names are compared.
    """

    row: Applied
    table: str
    lineage: Lineage
    policy: TablePolicy


def lineage_problems(
    runtime: Runtime, registry: Registry, definitions: Definitions, versions: Mapping[str, Applied], stored: Policies
) -> Iterator[Problem]:
    """A problem for each feature that shows what a policy hides, with the way there. `versions` are those that the plan leads to, and
    `stored` the policies in force.

    All versions of all views are looked at, also those that the plan does not change: a policy of a table may come after them.
    """
    policies = {str(on): one.policy for on, one in stored.items()}
    policies.update({policy.name: policy for policy in definitions.policies})
    if not any(policy.masks or policy.rows is not None for policy in policies.values()):
        return
    hidden = dict(_declared(policies))
    traced: list[TracedVersion] = []
    columns: dict[str, tuple[str, ...] | None] = {}
    for row in _rows(registry, versions):
        try:
            view = registry.view(row)
            for table in source_tables(view.source):
                if table not in columns:
                    columns[table] = None if view.source.files else column_names(runtime, table)
                    hidden.update(_joined(runtime, folded(table), columns[table] or (), hidden))
            policy = policies.get(f"VIEW {row.name}", TablePolicy(row.name))
            traced.append(TracedVersion(row, folded(runtime.features_table(row.table)), trace_view(view, columns), policy))
        except (SqlProblem, Conflict) as error:
            message = f"v{row.version} cannot be traced, so that nobody can say whether it shows what policies hide ({error}); remove it"
            yield definitions.problem("view", row.name, "", message)
    found: dict[tuple[str, str, str], str] = {}
    while _spread(hidden, traced, found):
        # Views may read feature tables of others, in any order.
        continue
    yield from (definitions.problem("view", name, field, message) for (name, field, _), message in found.items())


def _rows(registry: Registry, versions: Mapping[str, Applied]) -> Iterable[Applied]:
    """All versions of all views, with those that the plan leads to in place of what is registered."""
    planned = {(row.name, row.version): row for row in versions.values()}
    registered = {(name, row.version): row for name in registry.names("view") for row in registry.rows["view", name]}
    return {**registered, **planned}.values()


def _declared(policies: Mapping[str, TablePolicy]) -> Iterator[tuple[tuple[str, str], Hidden]]:
    """What policies hide of tables, by table and column. What they hide of views is found with the versions."""
    for policy in policies.values():
        on = object_of(policy)
        if policy.name.startswith("VIEW "):
            continue
        for column, mask in policy.masks.items():
            yield (folded(on.name), column), Hidden(frozenset(mask.unless), f"{on.name}.{column}")
        if policy.rows is not None:
            yield (folded(on.name), ROWS), Hidden(frozenset(policy.rows.unless), f"rows of {on.name}")


def _joined(
    runtime: Runtime, table: str, columns: Iterable[str], hidden: Mapping[tuple[str, str], Hidden]
) -> dict[tuple[str, str], Hidden]:
    """What is hidden of a table of training sets or logged predictions: all, from all but those who are under no rule. Any of its columns
    may have values of any view, or of any table that spines were read from.
    """
    if not is_in(table, *runtime.settings.joined_namespaces):
        return {}
    unless = frozenset.intersection(*(of.unless for of in hidden.values()))
    shown = {(table, column): Hidden(unless, f"{table}.{column}") for column in columns}
    is_filtered = any(column == ROWS for _, column in hidden)
    return {**shown, **({(table, ROWS): Hidden(unless, f"rows of {table}")} if is_filtered else {})}


def _spread(hidden: dict[tuple[str, str], Hidden], traced: Iterable[TracedVersion], found: dict[tuple[str, str, str], str]) -> bool:
    """Note what each version shows of what is hidden, and what is hidden of it; whether anything new was noted."""
    before = dict(hidden)
    found.clear()
    for version in traced:
        for name, uses in version.lineage.features.items():
            _spread_feature(hidden, version, name, uses, found)
        for key, uses in version.lineage.keys.items():
            sources = _sources(hidden, (use for use in uses if use.role == VALUE))
            if sources and key not in version.policy.declassify:
                _note(
                    found,
                    version,
                    f"entity.{key}",
                    f"the key {key}",
                    sources,
                    f"a key cannot be masked; declassify=[{key!r}] declares it open",
                )
        _spread_rows(hidden, version, found)
    return hidden != before


def _spread_feature(
    hidden: dict[tuple[str, str], Hidden], version: TracedVersion, name: str, uses: Uses, found: dict[tuple[str, str, str], str]
) -> None:
    sources, policy = _sources(hidden, uses), version.policy
    mask, is_open = policy.masks.get(name), name in policy.declassify
    shown = f"{version.row.name}.{name}"
    if mask is not None:
        _hide(hidden, (version.table, name), Hidden(frozenset(mask.unless), shown))
        wider = {group for source in sources for group in set(mask.unless) - source.unless}
        if wider and not is_open:
            what = f"its mask exempts {format_names(sorted(wider))}, who may not see what it is computed from"
            _note(found, version, f"masks.{name}", shown, sources, f"{what}; leave them out, or declare it open too: declassify=[{name!r}]")
    elif sources and not is_open:
        _hide(hidden, (version.table, name), Hidden(frozenset.intersection(*(source.unless for source in sources)), _way(sources, shown)))
        advice = f"give it a mask: masks={{{name!r}: Mask(...)}}, or declare it open: declassify=[{name!r}]"
        _note(found, version, f"features.{name}", shown, sources, advice)


def _spread_rows(hidden: dict[tuple[str, str], Hidden], version: TracedVersion, found: dict[tuple[str, str, str], str]) -> None:
    lineage, policy = version.lineage, version.policy
    tables = {folded(use.table) for of in (lineage.features, lineage.keys, lineage.times) for uses in of.values() for use in uses}
    sources = [source for table in sorted(tables) if (source := hidden.get((table, ROWS))) is not None]
    shown = f"rows of {version.row.name}"
    if policy.rows is not None:
        _hide(hidden, (version.table, ROWS), Hidden(frozenset(policy.rows.unless), shown))
        wider = {group for source in sources for group in set(policy.rows.unless) - source.unless}
        if wider and not policy.declassify_rows:
            what = f"its filter exempts {format_names(sorted(wider))}, who may not see the rows that it is computed from"
            _note(found, version, "rows", shown, sources, f"{what}; leave them out, or declare the rows open too: declassify_rows=True")
    elif sources and not policy.declassify_rows:
        _hide(hidden, (version.table, ROWS), Hidden(frozenset.intersection(*(source.unless for source in sources)), _way(sources, shown)))
        advice = "filter its rows: rows=RowFilter(...), or declare them open: declassify_rows=True"
        _note(found, version, "rows", shown, sources, advice)


def _sources(hidden: Mapping[tuple[str, str], Hidden], uses: Iterable[Use]) -> list[Hidden]:
    """The hidden columns among uses, each once. Columns that are not known may be any of their table."""
    names = {(folded(use.table), use.column) for use in uses}
    every = {table for table, column in names if column == ALL_COLUMNS}
    return [found for place, found in sorted(hidden.items()) if place[1] != ROWS and (place in names or place[0] in every)]


def _hide(hidden: dict[tuple[str, str], Hidden], place: tuple[str, str], what: Hidden) -> None:
    """Note that something is hidden, from all from whom it was or is now."""
    known = hidden.get(place)
    hidden[place] = what if known is None else Hidden(known.unless & what.unless, known.way)


def _way(sources: Iterable[Hidden], shown: str) -> str:
    return f"{format_names([source.way for source in sources])} -> {shown}"


def _note(
    found: dict[tuple[str, str, str], str], version: TracedVersion, field: str, shown: str, sources: Iterable[Hidden], advice: str
) -> None:
    message = f"v{version.row.version} shows what a policy hides: {_way(sources, shown)}; {advice}"
    found[version.row.name, field, str(version.row.version)] = message
