"""The grants of definitions in a plan: which are new, and what is wrong with them."""

from collections.abc import Iterable, Iterator

from featurestore.access.granting import check_grantable
from featurestore.access.grants import Grant, add_grants, read_grants
from featurestore.dsl import documents, grant
from featurestore.dsl.definitions import Definitions
from featurestore.errors import Problem, RequestError
from featurestore.pipelines.planning.step import Step
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime

KIND = "grant"


def grant_problems(runtime: Runtime, definitions: Definitions) -> Iterator[Problem]:
    """Problems of the words of grants."""
    for item in definitions.grants:
        try:
            check_grantable(runtime, parse_grant(runtime, item).on)
        except RequestError as error:
            yield definitions.problem(KIND, item.name, str(error.details.get("field", "")), error.message)


def grant_steps(runtime: Runtime, definitions: Definitions) -> list[Step]:
    """A step for each grant, in the order of definitions, and once for those that say the same in other words."""
    if not definitions.grants:
        return []
    in_force, steps = read_grants(runtime), {}
    for item in definitions.grants:
        parsed = parse_grant(runtime, item)
        name = f"{parsed.privilege} on {parsed.on} to {parsed.to}"
        result = Applied(KIND, name, 1, "", documents.document(item))
        same = parsed in in_force
        steps[name] = Step("unchanged", KIND, name, 1, "", result) if same else Step("create", KIND, name, 1, "new", result)
    return list(steps.values())


def apply_grants(runtime: Runtime, steps: Iterable[Step]) -> None:
    """Grant what the steps create, in one commit. Those that were granted meanwhile stay as they are. Raises: NotReady."""
    new = [parse_grant(runtime, documents.grant(step.result.document)) for step in steps if step.kind == KIND and step.action == "create"]
    if new:
        add_grants(runtime, new, runtime.author or None)


def parse_grant(runtime: Runtime, item: grant.Grant) -> Grant:
    """The grant of a definition. Raises: RequestError naming the field."""
    return Grant.parse(item.privilege, item.on, item.to, runtime.settings.catalog_name)
