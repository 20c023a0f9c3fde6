"""Resolve the names of a query in their scopes, and replace those of tables, CTEs and aliases by generated names, so that DuckDB looks
up no name that a user wrote."""

from collections.abc import Collection, Mapping

from sqlglot import exp

from featurestore.compiler import functions
from featurestore.compiler.parsing import SqlProblem, write_sql
from featurestore.compiler.projections import label_of, plain_column, projection_name, replace_column, star_of, struct_field
from featurestore.compiler.scopes import Ctes, Outputs, Relation, Scope
from featurestore.errors import brief, near
from featurestore.values.table_names import local_name

NAME_PREFIX = "__fs_n"


def bind_names(tree: exp.Expr, tables: Mapping[str, Relation] | None) -> tuple[exp.Expr, list[str]]:
    """Replace every relation name of a checked query; returns the query and a message for every unknown column.

    `tables` maps each catalog table to its relation in the session; None allows any table with any columns.
    Raises: SqlProblem for a table that is neither in the catalog nor defined in the query, and for a name of two tables.
    """
    binder = _Binder(tables)
    bound = tree.copy()
    binder.query(bound, {}, None)
    return bound, list(dict.fromkeys(binder.problems))


def table_name(table: exp.Table) -> str | None:
    """The catalog table of a node, as `namespace.name`; None if it has no namespace. Raises: SqlProblem."""
    if not isinstance(table.this, exp.Identifier):
        shown = write_sql(table, table.name)
        if isinstance(table.this, exp.Dot):
            raise SqlProblem(f"table {shown} has too many parts; name an Iceberg table: namespace.name")
        raise SqlProblem(f"{shown} is a function that reads something; name an Iceberg table: namespace.name")
    parts = [part.name for part in table.parts]
    if len(parts) == 1:
        return None
    for part in parts:
        if not all(letter.isalnum() or letter in "_- $" for letter in part) or not part.strip():
            raise SqlProblem(f"table {'.'.join(parts)!r}: {part!r} is no name of a table or namespace; use letters, digits, _ and -")
    return local_name(".".join(parts))


class _Binder:
    """Renames the relations of a tree in place; `problems` has a message for each unknown column."""

    def __init__(self, tables: Mapping[str, Relation] | None) -> None:
        self._tables = tables
        self._made = 0
        self.problems: list[str] = []

    def query(self, node: exp.Expr, ctes: Ctes, around: Scope | None) -> Outputs:
        """Rename the relations of a query, and return its columns."""
        ctes = self._with(node, ctes, around)
        if isinstance(node, exp.Select):
            return self._select(node, ctes, around)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, ctes, around)
        if isinstance(node, exp.Values):
            return self._values(node, Scope(around), ctes)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query | exp.Values):
            outputs = self.query(node.this, ctes, around)
            self._modifiers(node, outputs, ctes, around)
            return outputs
        raise SqlProblem(f"{type(node).__name__} is not allowed in place of a SELECT")

    def _set_operation(self, node: exp.SetOperation, ctes: Ctes, around: Scope | None, anchor: Outputs | None = None) -> Outputs:
        left, complete = self.query(node.this, ctes, around) if anchor is None else anchor
        right, right_complete = self.query(node.expression, ctes, around)
        if node.args.get("by_name"):
            left, complete = tuple(dict.fromkeys((*left, *right))), complete and right_complete
        self._modifiers(node, (left, complete), ctes, around)
        return left, complete

    def _modifiers(self, node: exp.Expr, outputs: Outputs, ctes: Ctes, around: Scope | None) -> None:
        scope = Scope(around, {"": Relation("", *outputs)})
        for name in ("order", "limit", "offset"):
            self._expression(node.args.get(name), scope, ctes)

    def _with(self, node: exp.Expr, ctes: Ctes, around: Scope | None) -> Ctes:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        known = dict(ctes)
        names_here: set[str] = set()
        for cte in clause.expressions:
            alias = cte.args["alias"]
            called = alias.this.name.lower()
            if called in names_here:
                raise SqlProblem(f"WITH gives the name '{alias.this.name}' twice; call one of them something else")
            names_here.add(called)
            name = self._name()
            columns = [column.name for column in alias.args.get("columns") or ()]
            body = cte.this
            if clause.args.get("recursive") and isinstance(body, exp.SetOperation):
                inner = self._with(body, known, around)
                anchor = self.query(body.this, inner, around)
                itself = Relation(name, *anchor).with_column_names(columns)
                outputs = self._set_operation(body, {**inner, called: itself}, around, anchor)
            else:
                outputs = self.query(body, known, around)
            known[called] = Relation(name, *outputs).with_column_names(columns)
            alias.set("this", exp.to_identifier(name, quoted=True))
        return known

    def _select(self, node: exp.Select, ctes: Ctes, around: Scope | None) -> Outputs:
        scope = Scope(around)
        if from_clause := node.args.get("from_"):
            self._source(from_clause.this, scope, ctes)
        self._joins(node, scope, ctes)
        for lateral in node.args.get("laterals") or ():
            self._source(lateral, scope, ctes)
        scope.aliases = [item.alias for item in node.expressions if isinstance(item, exp.Alias)]
        outputs: list[str] = []
        complete = True
        projections: list[exp.Expr] = []
        for item in node.expressions:
            if (starred := star_of(item)) is not None:
                names, known = self._star(item, starred, scope, ctes)
                outputs += names
                complete &= known
                projections.append(item)
                continue
            called, known = projection_name(item)
            # DuckDB's default name depends on names that are about to change.
            label = None if isinstance(item, exp.Alias) else label_of(item)
            holder = exp.Paren(this=item)
            self._expression(holder, scope, ctes)
            bound = holder.this
            outputs += [called] if called else []
            complete &= known
            named = label is None or isinstance(bound, exp.Column)
            projections.append(bound if named else exp.alias_(bound, label, quoted=True, copy=False))
        node.set("expressions", projections)
        for name, value in node.args.items():
            if name not in ("expressions", "from_", "joins", "laterals", "with_"):
                for part in value if isinstance(value, list) else [value]:
                    self._expression(part, scope, ctes)
        return tuple(outputs), complete

    def _joins(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        for join in node.args.get("joins") or ():
            self._source(join.this, scope, ctes)
            self._expression(join.args.get("on"), scope, ctes)

    def _source(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> None:
        """Add an item of FROM to the scope, under a generated name."""
        alias = node.args.get("alias")
        called = alias.this.name if alias is not None and alias.this is not None else None
        if isinstance(node, exp.Table):
            relation = self._table(node, ctes)
            called = called or node.args["this"].name
            joined = node.args.get("joins")
            self._add(node, called, alias, relation, scope)
            node.set("this", exp.to_identifier(relation.name, quoted=True))
            node.set("db", None)
            node.set("catalog", None)
            if joined:
                self._joins(node, scope, ctes)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            if alias is not None:
                raise SqlProblem(f"the joined tables called '{called}' stand in parentheses; write (SELECT ... FROM ...) AS {called}")
            self._source(node.this, scope, ctes)
        elif isinstance(node, exp.Subquery | exp.Lateral):
            inner = node.this if isinstance(node, exp.Lateral) else node
            if not isinstance(inner, exp.Subquery):
                raise SqlProblem(
                    f"{write_sql(inner, called or '')} is a function that reads something; name an Iceberg table: namespace.name"
                )
            self._add(node, called, alias, Relation("", *self.query(inner, ctes, scope)), scope)
        elif isinstance(node, exp.Values):
            self._add(node, called, alias, Relation("", *self._values(node, scope, ctes)), scope)
        elif isinstance(node, exp.Unnest):
            for part in node.expressions:
                self._expression(part, scope, ctes)
            self._add(node, called, alias, Relation("", ("unnest", *(("ordinality",) if node.args.get("offset") else ())), False), scope)
        else:
            raise SqlProblem(f"{type(node).__name__} is not allowed in FROM; name an Iceberg table: namespace.name")

    def _table(self, node: exp.Table, ctes: Ctes) -> Relation:
        name = table_name(node)
        if name is None:
            relation = ctes.get(node.name.lower())
            if relation is None:
                raise SqlProblem(f"table '{node.name}' has no namespace; name an Iceberg table: namespace.name{_near_cte(node.name, ctes)}")
            return relation
        if self._tables is None:
            return Relation(name, (), False)
        return self._tables[name]

    def _add(self, node: exp.Expr, called: str | None, alias: exp.Expr | None, relation: Relation, scope: Scope) -> None:
        columns = list(alias.args.get("columns") or ()) if alias is not None else []
        name = self._name()
        renamed = Relation(name, relation.columns, relation.complete).with_column_names(column.name for column in columns)
        key = (called or name).lower()
        if key in scope.relations:
            raise SqlProblem(f"two tables are called '{called}' in one FROM; give one of them an alias of its own")
        scope.relations[key] = renamed
        node.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True), columns=columns))

    def _values(self, node: exp.Values, scope: Scope, ctes: Ctes) -> Outputs:
        for row in node.expressions:
            self._expression(row, scope, ctes)
        first = node.expressions[0]
        width = len(first.expressions) if isinstance(first, exp.Tuple) else 1
        return tuple(f"col{index}" for index in range(width)), True

    def _star(self, item: exp.Expr, star: exp.Star, scope: Scope, ctes: Ctes) -> Outputs:
        relations = list(scope.relations.values())
        if isinstance(item, exp.Column):
            name = item.parts[0].name
            relation = scope.relations.get(name.lower())
            if relation is None or len(item.parts) != 2:
                raise SqlProblem(f"'{name}.*' names no table of its FROM{near(name, scope.relations)}")
            relations = [relation]
            item.set("table", exp.to_identifier(relation.name, quoted=True))
        names = [column for relation in relations for column in relation.columns]
        left_out = {plain_column(column).lower() for column in star.args.get("except_") or ()}
        called = {plain_column(item_part.this).lower(): item_part.alias for item_part in star.args.get("rename") or ()}
        for item_part in star.args.get("replace") or ():
            self._expression(item_part, scope, ctes)
        kept = [called.get(name.lower(), name) for name in names if name.lower() not in left_out]
        return tuple(kept), all(relation.complete for relation in relations)

    def _expression(self, node: object, scope: Scope, ctes: Ctes) -> None:
        """Rename the relations in an expression, including its subqueries."""
        if not isinstance(node, exp.Expr):
            return
        waiting: list[exp.Expr] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, exp.Query):
                self.query(part, ctes, scope)
            elif isinstance(part, exp.Column):
                if not isinstance(part.this, exp.Star):
                    self._column(part, scope)
            elif isinstance(part, exp.Dot):
                made = struct_field(part.this, part.expression.name)
                part.replace(made)
                waiting.append(made)
            else:
                waiting.extend(reversed(list(part.iter_expressions())))

    def _column(self, column: exp.Column, scope: Scope) -> None:
        parts = [part.name for part in column.parts]
        owner = (
            next((relation for outer in scope.outward() if (relation := outer.relations.get(parts[0].lower()))), None)
            if len(parts) > 1
            else None
        )
        strict = (functions.VALUE_NAMES | functions.HIDDEN_COLUMNS).__contains__
        if owner is not None:
            name, fields = parts[1], parts[2:]
            if not owner.has(name) and (owner.complete or strict(name.lower())):
                self._missing(name, owner.columns)
        else:
            name, fields = parts[0], parts[1:]
            around = list(scope.outward())
            everything = [relation for outer in around for relation in outer.relations.values()]
            holder = next((relation for relation in everything if relation.has(name)), None)
            named = any(alias.lower() == name.lower() for outer in around for alias in outer.aliases)
            if strict(name.lower()):
                # DuckDB resolves such a name to a function if there is no such column, unless it is qualified with a table.
                owner = holder if holder is not None and holder.name else None
                if owner is None and self._tables is not None:
                    self._missing(name, [column for relation in everything for column in relation.columns])
            elif holder is None and not named and all(relation.complete for relation in everything):
                self._missing(name, [column for relation in everything for column in relation.columns], parts)
        replace_column(column, ([owner.name] if owner is not None else []) + [name], fields)

    def _missing(self, name: str, known: Collection[str], parts: Collection[str] = ()) -> None:
        dotted = ".".join(parts)
        self.problems.append(f"no column {brief(name)}{f' (in {dotted})' if len(parts) > 1 else ''}{near(name, known)}")

    def _name(self) -> str:
        self._made += 1
        return f"{NAME_PREFIX}{self._made}"


def _near_cte(name: str, ctes: Ctes) -> str:
    return f", or a name of its WITH{near(name.lower(), ctes)}" if ctes else ""
