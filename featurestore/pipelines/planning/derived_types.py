"""Check the types of what the derived features of a service read, without reading rows."""

from featurestore.compiler.derived import derived_sql
from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quote_name, resolve
from featurestore.compiler.service_plan import ServicePlan
from featurestore.compiler.storage import base_type, storage_type
from featurestore.compiler.typed_columns import UNTYPED, typed_nulls
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.records.runtime import Runtime
from featurestore.sources.expression_types import ExpressionTypes


def derived_type_problems(runtime: Runtime, plan: ServicePlan) -> list[FieldProblem]:
    """A problem for each derived feature that does not work on the types of the features and request fields that it reads."""
    if not plan.derived:
        return []
    looked_up = {name: sql_type for use in plan.uses for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    types = {**dict(plan.request), **looked_up}
    scope = {name: quote_name(name) for name in types}
    owner = Owner("service", plan.service)
    problems: list[FieldProblem] = []
    expressions = derived_sql(plan, scope)
    with runtime.engine.brief() as session:
        expression_types = ExpressionTypes(session, typed_nulls(types), types)
        expression_types.learn(expressions)
        sql_types = list(map(expression_types.of, expressions))
    for (name, sql), sql_type in zip(plan.derived, sql_types, strict=True):
        if sql_type is None:
            read = [str(resolve(column, types)) for column in column_names(parse_row(sql))]
            listed = ", ".join(f"{column} is {types[column]}" for column in read) or "it names no column"
            message = f"{sql!r} does not work on these types: {listed}; cast what it reads"
            problems.append(FieldProblem(owner, f"derived.{name}", message))
            continue
        try:
            if base_type(sql_type) == "UHUGEINT":
                raise SqlProblem("has type UHUGEINT, which a training set cannot hold; CAST it to DECIMAL(38,0)")
            storage_type("INTEGER" if sql_type == UNTYPED else sql_type)
        except SqlProblem as error:
            problems.append(FieldProblem(owner, f"derived.{name}", f"{sql!r} {error}"))
    return problems
