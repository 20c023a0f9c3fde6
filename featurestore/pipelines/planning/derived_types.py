"""Check the types of what the derived features of a service read, without reading rows."""

from featurestore.compiler.derived import derived_sql
from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quoted, resolve
from featurestore.compiler.service_plan import ServicePlan
from featurestore.compiler.storage import base_type, storage_type
from featurestore.compiler.typed_columns import expression_over, typed_nulls
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.errors import RequestError
from featurestore.records.runtime import Runtime


def derived_type_problems(runtime: Runtime, plan: ServicePlan) -> list[FieldProblem]:
    """A problem for each derived feature that does not work on the types of the features and request fields that it reads."""
    if not plan.derived:
        return []
    looked_up = {name: kind for use in plan.uses for (_, name), kind in zip(use.features, use.feature_types, strict=True)}
    kinds = {**dict(plan.request), **looked_up}
    scope = {name: quoted(name) for name in kinds}
    inputs = typed_nulls(kinds)
    owner = Owner("service", plan.service)
    problems: list[FieldProblem] = []
    with runtime.engine.brief() as session:
        for (name, sql), expression in zip(plan.derived, derived_sql(plan, scope), strict=True):
            try:
                (kind,) = session.schema(expression_over(inputs, expression)).values()
                if base_type(kind) == "UHUGEINT":
                    raise SqlProblem("has type UHUGEINT, which a training set cannot hold; CAST it to DECIMAL(38,0)")
                storage_type("INTEGER" if kind.strip('"') == "NULL" else kind)
            except RequestError:
                read = [str(resolve(column, kinds)) for column in column_names(parse_row(sql))]
                types = ", ".join(f"{column} is {kinds[column]}" for column in read) or "there is no column in it"
                message = f"{sql!r} does not work on these types: {types}; cast what it reads"
                problems.append(FieldProblem(owner, f"derived.{name}", message))
            except SqlProblem as error:
                problems.append(FieldProblem(owner, f"derived.{name}", f"{sql!r} {error}"))
    return problems
