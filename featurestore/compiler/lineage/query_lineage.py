"""Trace the columns of a query to the stored columns behind them, scope by scope."""

from collections.abc import Callable, Collection, Mapping

from sqlglot import exp

from featurestore.compiler.lineage import column_uses
from featurestore.compiler.lineage.column_uses import ALL_COLUMNS, NONE, TracedRelation, Uses, count_uses, in_role, stored_relation, union
from featurestore.compiler.lineage.traced_scope import Scope
from featurestore.compiler.name_binder import table_name

Ctes = Mapping[str, TracedRelation]


class QueryTracer:
    """Traces checked queries; `tables` has the columns of each stored table, None if they are not known."""

    def __init__(self, tables: Mapping[str, Collection[str] | None]) -> None:
        self._tables = tables

    def query(self, node: exp.Expr, ctes: Ctes, around: Scope | None) -> TracedRelation:
        """The relation that a query gives."""
        ctes = self._with(node, ctes, around)
        if isinstance(node, exp.Select):
            return self._select(node, ctes, around)
        if isinstance(node, exp.SetOperation):
            left = self.query(node.this, ctes, around)
            return self._set_operation(node, left, self.query(node.expression, ctes, around), ctes, around)
        if isinstance(node, exp.Values):
            return self._values(node, Scope(around), ctes)
        return self._with_limit(node, self.query(node.this, ctes, around), ctes, around)

    def expression(self, node: object, scope: Scope, ctes: Ctes) -> Uses:
        """The uses behind the value of an expression."""
        if not isinstance(node, exp.Expr):
            return NONE
        if isinstance(node, exp.Query):
            inner = self.query(node, ctes, scope)
            return inner.everything() | inner.rows
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Count) and (node.this is None or isinstance(node.this, exp.Star)):
            return count_uses(frozenset(scope.rows))
        if isinstance(node, exp.Exists):
            return in_role(self._children(node, scope, ctes), column_uses.FILTER)
        if isinstance(node, exp.Window):
            framed = [part for name, part in node.args.items() if name != "this"]
            return self.expression(node.this, scope, ctes) | in_role(self._all(framed, scope, ctes), column_uses.WINDOW)
        if isinstance(node, exp.Filter):
            return self.expression(node.this, scope, ctes) | in_role(self.expression(node.expression, scope, ctes), column_uses.FILTER)
        if isinstance(node, exp.Order) and not isinstance(node.parent, exp.WithinGroup):
            return self.expression(node.this, scope, ctes) | in_role(self._all(node.expressions, scope, ctes), column_uses.ORDER)
        uses = self._children(node, scope, ctes)
        if not uses and isinstance(node, exp.AggFunc):
            # Of a constant, as in count(1): how often it is counted.
            return count_uses(frozenset(scope.rows))
        return uses

    def _children(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> Uses:
        return union(self.expression(child, scope, ctes) for child in node.iter_expressions())

    def _all(self, parts: object, scope: Scope, ctes: Ctes) -> Uses:
        """The uses behind a node, or behind the nodes of nested lists."""
        if isinstance(parts, list | tuple):
            return union(self._all(part, scope, ctes) for part in parts)
        return self.expression(parts, scope, ctes)

    def _column(self, column: exp.Column, scope: Scope) -> Uses:
        parts = [part.name for part in column.parts if not isinstance(part, exp.Star)]
        star = isinstance(column.this, exp.Star)
        if star or len(parts) > 1:
            for outer in scope.outward():
                if (relation := outer.relations.get(parts[0].lower())) is not None:
                    return relation.everything() if star else _uses_of_name(relation, parts[1])
        for outer in scope.outward():
            if (uses := outer.column(parts[0])) is not None:
                return uses
        for outer in scope.outward():
            unlisted = [relation.unlisted(parts[0]) for relation in outer.relations.values() if relation.unlisted is not None]
            if unlisted:
                return union(unlisted)
        return NONE

    def _with(self, node: exp.Expr, ctes: Ctes, around: Scope | None) -> Ctes:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        known = dict(ctes)
        for cte in clause.expressions:
            alias = cte.args["alias"]
            columns = [column.name for column in alias.args.get("columns") or ()]
            called = alias.this.name.lower()
            if clause.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                known[called] = self._recursive(cte.this, called, columns, known, around)
            else:
                known[called] = self.query(cte.this, known, around).with_column_names(columns)
        return known

    def _recursive(self, body: exp.SetOperation, called: str, columns: list[str], ctes: Ctes, around: Scope | None) -> TracedRelation:
        """A recursive CTE: its uses only grow with each round, until they are all found."""
        inner = self._with(body, ctes, around)
        relation = self.query(body.this, inner, around).with_column_names(columns)
        while True:
            right = self.query(body.expression, {**inner, called: relation}, around)
            grown = self._set_operation(body, relation, right, inner, around)
            if grown == relation:
                return relation
            relation = grown

    def _set_operation(
        self, node: exp.SetOperation, left: TracedRelation, right: TracedRelation, ctes: Ctes, around: Scope | None
    ) -> TracedRelation:
        rows = left.rows | right.rows
        if isinstance(node, exp.Union):
            columns = _by_name(left, right) if node.args.get("by_name") else _by_position(left, right)
            unlisted = _unlisted_of([relation.unlisted for relation in (left, right) if relation.unlisted is not None])
            both = TracedRelation(columns, rows, unlisted)
            if node.args.get("distinct"):
                both = TracedRelation(columns, rows | in_role(both.everything(), column_uses.GROUP), unlisted)
        else:
            compared = in_role(left.everything() | right.everything(), column_uses.FILTER)
            both = TracedRelation(left.columns, rows | compared, left.unlisted)
        return self._with_limit(node, both, ctes, around)

    def _with_limit(self, node: exp.Expr, relation: TracedRelation, ctes: Ctes, around: Scope | None) -> TracedRelation:
        """A relation with the ORDER BY and LIMIT of the query that gives it."""
        scope = Scope(around, {"": relation}, outputs=list(relation.columns))
        self._limit(node, scope, ctes)
        return TracedRelation(relation.columns, relation.rows | scope.rows, relation.unlisted)

    def _limit(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        limits = [node.args.get("limit"), node.args.get("offset")]
        distinct = node.args.get("distinct")
        on = distinct.args.get("on") if isinstance(distinct, exp.Distinct) else None
        if any(limits) or on is not None:
            scope.rows |= in_role(self._keys(node.args.get("order"), scope, ctes), column_uses.ORDER)
        scope.rows |= in_role(self._all(limits, scope, ctes), column_uses.FILTER)

    def _keys(self, clause: exp.Expr | None, scope: Scope, ctes: Ctes) -> Uses:
        """The uses behind ORDER BY or GROUP BY, whose items may be numbers of outputs."""
        key_uses: list[Uses] = []
        for item in [] if clause is None else clause.iter_expressions():
            key = item.this if isinstance(item, exp.Ordered) else item
            if isinstance(key, exp.Literal) and not key.is_string:
                key_uses.append(union(uses for number, (_, uses) in enumerate(scope.outputs, 1) if str(number) == key.name))
            elif isinstance(key, exp.Var):
                key_uses.append(union(uses for _, uses in scope.outputs))
            else:
                key_uses.append(self.expression(key, scope, ctes))
        return union(key_uses)

    def _select(self, node: exp.Select, ctes: Ctes, around: Scope | None) -> TracedRelation:
        scope = Scope(around)
        if from_clause := node.args.get("from_"):
            self._source(from_clause.this, scope, ctes)
        self._joins(node, scope, ctes)
        for lateral in node.args.get("laterals") or ():
            self._source(lateral, scope, ctes)
        grouped: list[Uses] = []
        for item in node.expressions:
            before = len(scope.outputs)
            self._project(item, scope, ctes)
            if item.find(exp.AggFunc, exp.AnonymousAggFunc) is None:
                grouped += [uses for _, uses in scope.outputs[before:]]
        for name in ("where", "having", "qualify"):
            scope.rows |= in_role(self.expression(node.args.get(name), scope, ctes), column_uses.FILTER)
        scope.rows |= in_role(self._all(node.args.get("windows") or [], scope, ctes), column_uses.WINDOW)
        if group := node.args.get("group"):
            keys = union(grouped) if group.args.get("all") else self._keys(group, scope, ctes)
            scope.rows |= in_role(keys, column_uses.GROUP)
        if distinct := node.args.get("distinct"):
            on = distinct.args.get("on")
            keys = _everything(scope) if on is None else self.expression(on, scope, ctes)
            scope.rows |= in_role(keys, column_uses.GROUP)
        self._limit(node, scope, ctes)
        unnamed = union(uses for name, uses in scope.outputs if name is None)
        unlisted = [*scope.unlisted, *([lambda _: unnamed] if unnamed else [])]
        return TracedRelation(tuple(scope.outputs), frozenset(scope.rows), _unlisted_of(unlisted))

    def _project(self, item: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        """Add the outputs of an item of the SELECT list."""
        star = item.this if isinstance(item, exp.Column) else item
        if isinstance(star, exp.Star):
            self._star(item, star, scope, ctes)
            return
        name = item.alias if isinstance(item, exp.Alias) else item.name if isinstance(item, exp.Column) else None
        scope.outputs.append((name, self.expression(item.this if isinstance(item, exp.Alias) else item, scope, ctes)))

    def _star(self, item: exp.Expr, star: exp.Star, scope: Scope, ctes: Ctes) -> None:
        if isinstance(item, exp.Column):
            relations = [scope.relations[item.parts[0].name.lower()]]
        else:
            relations = [relation for name, relation in scope.relations.items() if name not in scope.hidden]
        excluded = {column.name.lower() for column in star.args.get("except_") or ()}
        renamed = {part.this.name.lower(): part.alias for part in star.args.get("rename") or ()}
        replaced = {part.alias.lower(): self.expression(part.this, scope, ctes) for part in star.args.get("replace") or ()}
        seen: set[str] = set()
        for relation in relations:
            for name, uses in relation.columns:
                lower = (name or "").lower()
                if name is None:
                    scope.outputs.append((None, uses))
                elif lower not in excluded and not (lower in scope.shared and lower in seen):
                    seen.add(lower)
                    value = scope.column(name) if lower in scope.shared else uses
                    scope.outputs.append((renamed.get(lower, name), replaced.get(lower, value or uses)))
            if relation.unlisted is not None:
                scope.unlisted.append(relation.unlisted)

    def _joins(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        for join in node.args.get("joins") or ():
            before = set(scope.relations)
            earlier = {name.lower() for relation in scope.relations.values() for name, _ in relation.columns if name}
            self._source(join.this, scope, ctes)
            added = [name for name in scope.relations if name not in before]
            if join.args.get("kind") in ("SEMI", "ANTI"):
                scope.hidden.update(added)
            scope.rows |= in_role(self.expression(join.args.get("on"), scope, ctes), column_uses.JOIN)
            using = [column.name for column in join.args.get("using") or ()]
            if join.args.get("method") == "NATURAL":
                using = [name for key in added for name, _ in scope.relations[key].columns if name and name.lower() in earlier]
            for name in using:
                scope.shared.add(name.lower())
                scope.rows |= in_role(scope.column(name) or _open_columns(scope, name), column_uses.JOIN)

    def _source(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        """Add an item of FROM to the scope."""
        alias = node.args.get("alias")
        called = alias.this.name if alias is not None and alias.this is not None else None
        if isinstance(node, exp.Table):
            self._add(called or node.args["this"].name, alias, self._table(node, ctes), scope)
            self._joins(node, scope, ctes)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            self._source(node.this, scope, ctes)
        elif isinstance(node, exp.Values):
            self._add(called, alias, self._values(node, scope, ctes), scope)
        elif isinstance(node, exp.Unnest):
            values = self._all(node.expressions, scope, ctes)
            self._add(called, alias, TracedRelation((("unnest", values),), NONE, lambda _: values), scope)
        else:
            inner = node.this if isinstance(node, exp.Lateral) else node
            self._add(called, alias, self.query(inner, ctes, scope), scope)

    def _add(self, called: str | None, alias: exp.Expr | None, relation: TracedRelation, scope: Scope) -> None:
        columns = [column.name for column in alias.args.get("columns") or ()] if alias is not None else []
        scope.relations[(called or f" {len(scope.relations)}").lower()] = relation.with_column_names(columns)
        scope.rows |= relation.rows

    def _table(self, node: exp.Table, ctes: Ctes) -> TracedRelation:
        name = table_name(node)
        return ctes[node.name.lower()] if name is None else stored_relation(name, self._tables.get(name))

    def _values(self, node: exp.Values, scope: Scope, ctes: Ctes) -> TracedRelation:
        rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
        columns = [union(self.expression(value, scope, ctes) for value in values) for values in zip(*rows, strict=True)]
        return TracedRelation(tuple((f"col{index}", uses) for index, uses in enumerate(columns)))


def _uses_of_name(relation: TracedRelation, name: str) -> Uses:
    listed = relation.column(name)
    if listed is not None:
        return listed
    return NONE if relation.unlisted is None else relation.unlisted(name)


def _everything(scope: Scope) -> Uses:
    """The uses behind all outputs so far, listed or not."""
    return union([*(uses for _, uses in scope.outputs), *(part(ALL_COLUMNS) for part in scope.unlisted)])


def _open_columns(scope: Scope, name: str) -> Uses:
    return union(relation.unlisted(name) for relation in scope.relations.values() if relation.unlisted is not None)


def _unlisted_of(parts: list[Callable[[str], Uses]]) -> Callable[[str], Uses] | None:
    return (lambda name: union(part(name) for part in parts)) if parts else None


def _by_position(left: TracedRelation, right: TracedRelation) -> tuple[tuple[str | None, Uses], ...]:
    if len(left.columns) != len(right.columns):
        # One of them has columns that are not known, in unknown positions.
        other = right.everything()
        return tuple((name, uses | other) for name, uses in left.columns)
    return tuple((name, uses | other) for (name, uses), (_, other) in zip(left.columns, right.columns, strict=True))


def _by_name(left: TracedRelation, right: TracedRelation) -> tuple[tuple[str | None, Uses], ...]:
    names = dict.fromkeys((name or ALL_COLUMNS).lower() for name, _ in (*left.columns, *right.columns))
    spelled = {(name or ALL_COLUMNS).lower(): name for name, _ in (*right.columns, *left.columns)}
    return tuple((spelled[name], (left.column(name) or NONE) | (right.column(name) or NONE)) for name in names)
