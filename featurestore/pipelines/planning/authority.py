"""What the author of definitions may apply: every definition that changes needs a privilege, and a view or service reads with all rights of
the store what its author must be able to read whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.access.rights import Rights
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.view_lineage import source_tables
from featurestore.compiler.mentioned_names import ANY, mentioned_names
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definition, Definitions, object_title, owner_of
from featurestore.dsl.grant import Grant
from featurestore.dsl.policy import TablePolicy
from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict, Forbidden, Problem, RequestError
from featurestore.pipelines.planning.grants import parse_grant
from featurestore.pipelines.planning.step import Step
from featurestore.records import stored_sets
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import folded, is_in

KINDS = {"entity": Kind.ENTITY, "source": Kind.SOURCE, "view": Kind.VIEW, "service": Kind.SERVICE}
"""The kinds of definitions on which privileges are granted."""
ADMINISTRATOR = "the rights of an administrator"


@dataclass(frozen=True)
class Refusal:
    """A definition that its author may not apply: what it needs, and on what; `why` says more, if the need alone does not."""

    title: str
    needs: str
    on: Securable | None
    why: str = ""

    def __str__(self) -> str:
        return f"{self.title} needs {self.needs}{'' if self.on is None else f' on {self.on}'}{f': {self.why}' if self.why else ''}"


@dataclass(frozen=True)
class Author:
    """Whose definitions are planned. Without an administrator's rights, it must have privileges on all that they change and read."""

    runtime: Runtime
    registry: Registry
    rights: Rights

    def check(self, definitions: Definitions) -> frozenset[str]:
        """Check what the definitions need before anything that they name is looked at.

        Returns the views that are as they were applied, and whose sources the author may not look at. Raises: Forbidden naming every
        definition that is refused, in the same words whether or not there is something of its name.
        """
        if self.rights.is_unlimited:
            return frozenset()
        refused = [refusal for item in self._all(definitions) for refusal in self._refusals(definitions, item)]
        self._refuse(refused)
        same = (view for view in definitions.views if self._is_same(view))
        return frozenset(view.name for view in same if not self._manages(view) or any(self._view_refusals(view)))

    def check_steps(self, steps: Iterable[Step]) -> None:
        """Check what the steps of a plan change, which may be more than what definitions do: a service moves with its views.

        Raises: as `check`.
        """
        if self.rights.is_unlimited:
            return
        changes = [step for step in steps if step.action != "unchanged" and step.kind in KINDS]
        needed = ((step, Securable(KINDS[step.kind], step.name)) for step in changes)
        self._refuse([_refusal(f"{step.kind} {step.name}", on) for step, on in needed if not self.rights.allows(Privilege.MANAGE, on)])

    def sees(self, kind: str, name: str) -> bool:
        """Whether a definition may be named to the author. Grants and policies are listed elsewhere."""
        return self.rights.is_unlimited or (kind in KINDS and self.rights.sees(KINDS[kind], name))

    def own_problems(self, definitions: Definitions, problems: Iterable[Problem]) -> list[Problem]:
        """Of problems of all views of the store, those of the author's definitions: its definitions cause no others."""
        own = {object_title(*owner_of(view)) for view in definitions.views}
        return [problem for problem in problems if self.rights.is_unlimited or problem.object in own]

    def without_hidden_models(self, step: Step) -> Step:
        """The step with the models, such as `churn/3`, that may be named to the author."""
        seen = tuple(model for model in step.models if self.rights.sees(Kind.MODEL, model.rpartition("/")[0]))
        return step if seen == step.models else replace(step, models=seen)

    def _manages(self, view: FeatureView) -> bool:
        return self.rights.has(Privilege.MANAGE, Kind.VIEW, view.name)

    def _all(self, definitions: Definitions) -> list[Definition]:
        found = definitions
        return [*found.entities, *found.sources, *found.views, *found.services, *found.grants, *found.policies]

    def _refusals(self, definitions: Definitions, item: Definition) -> Iterator[Refusal]:
        kind, name = owner_of(item)
        title = f"{kind} {name}"
        if isinstance(item, TablePolicy):
            yield Refusal(title, ADMINISTRATOR, None)
        elif isinstance(item, Grant):
            yield from self._grant_refusals(definitions, item, title)
        else:
            on = Securable(KINDS[kind], name)
            if self._is_same(item) and self.rights.allows(Privilege.USE, on):
                return
            if not self.rights.allows(Privilege.MANAGE, on):
                yield _refusal(title, on)
            if isinstance(item, FeatureView):
                yield from self._view_refusals(item)
            elif isinstance(item, FeatureService):
                yield from self._service_refusals(item)

    def _is_same(self, item: Definition) -> bool:
        """Whether it is applied as it is, so that nothing would be done."""
        kind, name = owner_of(item)
        current = self.registry.latest(kind, name)
        if current is None:
            return False
        try:
            return self._document(current) == documents.document(item)
        except Conflict:
            return False

    def _document(self, current: Applied) -> object:
        # Read and written again, because releases may write the same definition differently.
        if current.kind == "view":
            return documents.document(self.registry.view(current))
        return documents.document(self.registry.service(current)) if current.kind == "service" else current.document

    def _view_refusals(self, view: FeatureView) -> Iterator[Refusal]:
        """What the author lacks to have a view computed, whose rows are read with all rights of the store."""
        title, rights = f"view {view.name}", self.rights
        policy = rights.declared_policy(Securable(Kind.VIEW, view.name)) if self._manages(view) else None
        if policy is not None and (policy.masks or policy.rows is not None):
            yield Refusal(title, ADMINISTRATOR, None, "it has masks or a row filter, which other features of its might evade")
        source = view.source
        if source.files is not None or source.kept:
            what = "pushed events" if source.pushed else "files of the store's machine" if source.path is not None else "a database"
            yield Refusal(title, ADMINISTRATOR, None, f"it reads {what}")
            return
        try:
            tables = source_tables(source)
        except SqlProblem:
            # The checks of definitions say what is wrong with it; nothing of it is looked at.
            return
        mentioned = mentioned_names(view)
        for table in tables:
            on = Securable(Kind.TABLE, table)
            if not rights.allows(Privilege.READ, on):
                yield Refusal(title, str(Privilege.READ), on)
            elif (hidden := self._hidden(table, mentioned)) is not None:
                yield Refusal(title, f"{Privilege.READ} of the whole table", on, hidden)

    def _hidden(self, table: str, mentioned: frozenset[str]) -> str | None:
        """What of a table the author may not see and the view might show; None: nothing."""
        rights, settings = self.rights, self.runtime.settings
        try:
            stored_sets.require_shown_tables(self.runtime.for_reader(rights), table)
        except Forbidden as error:
            return error.message
        if is_in(table, *settings.joined_namespaces) and rights.is_under_policies:
            return f"it has rows of views, and a policy is in force for {rights.principal.name}"
        policy = rights.policy_of_table(table)
        if policy.rows is not None:
            return f"rows of it are hidden from {rights.principal.name}"
        masks = [name for name, _ in policy.masks if folded(name) in mentioned or ANY in mentioned]
        return f"{', '.join(masks)}, which the view names, is masked for {rights.principal.name}" if masks else None

    def _service_refusals(self, service: FeatureService) -> Iterator[Refusal]:
        """A service has the rows of its views, which whoever makes it may grant to others."""
        for name in dict.fromkeys(selection.view.name for selection in service.selections):
            on = Securable(Kind.VIEW, name)
            if not self.rights.allows(Privilege.READ, on):
                yield Refusal(f"service {service.name}", str(Privilege.READ), on)

    def _grant_refusals(self, definitions: Definitions, grant: Grant, title: str) -> Iterator[Refusal]:
        try:
            parsed = parse_grant(self.runtime, grant)
        except RequestError:
            # The checks of definitions say what is wrong with it.
            return
        needed = [Privilege.MANAGE] if self._will_own(definitions, parsed.on) else [Privilege.MANAGE, parsed.privilege]
        missing = next((privilege for privilege in needed if not self.rights.allows(privilege, parsed.on)), None)
        if missing is not None:
            yield Refusal(title, str(missing), parsed.on)

    def _will_own(self, definitions: Definitions, on: Securable) -> bool:
        """Whether the definitions make an object, which is their author's then."""
        word = next((word for word, kind in KINDS.items() if kind is on.kind), None)
        made = {owner_of(item) for item in self._all(definitions)}
        return word is not None and (word, on.name) in made and self.registry.latest(word, on.name) is None

    def _refuse(self, refused: Iterable[Refusal]) -> None:
        distinct = list(dict.fromkeys(refused))
        if not distinct:
            return
        name, first = self.rights.principal.name, distinct[0]
        lines = "\n".join(f"  {refusal}" for refusal in distinct)
        raise Forbidden(
            f"{name} may not apply these definitions, of which nothing is done:\n{lines}\n"
            "  or there is nothing of that name; whoever manages an object grants privileges on it: featurestore grant",
            **({} if first.on is None else {"privilege": first.needs, "on": str(first.on)}),
            refused=[
                {"object": refusal.title, "needs": refusal.needs, "on": None if refusal.on is None else str(refusal.on), "why": refusal.why}
                for refusal in distinct
            ],
            principal=name,
        )


def _refusal(title: str, on: Securable) -> Refusal:
    return Refusal(title, str(Privilege.MANAGE), on, "or USE, if it is defined like this already")
