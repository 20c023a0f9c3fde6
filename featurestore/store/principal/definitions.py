"""Definitions and their removal, as one principal may use them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from featurestore import verbs
from featurestore.access.privileges import Kind, Privilege
from featurestore.errors import CommitConflict, Conflict
from featurestore.records import describe
from featurestore.records.names import service_name, view_name
from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded
from featurestore.values.arguments import check_flag, check_text, check_version
from featurestore.values.humanize import format_names

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.records.listings import ViewDetail

P = ParamSpec("P")
T = TypeVar("T")


class PrincipalDefinitions(PrincipalVerbs):
    """Plan, apply and remove definitions: who manages them, and may read what they read. `pipelines.planning.authority` checks plans."""

    @recorded
    def plan(self, definitions: Any) -> Plan:
        """MANAGE on what changes, READ of all that it reads, USE on what stays as it is; the plan names only what one may see."""
        return self._make_plan(definitions)

    @recorded
    def apply(self, definitions: Any) -> Plan:
        """As `plan`. A plan is made again with the rights of the principal, and must be the same."""
        if not isinstance(definitions, verbs.Plan):
            return self._change(verbs.apply_plan, self._runtime, self._make_plan(definitions), as_shown=False, rights=self._rights)
        plan = self._make_plan(definitions.definitions)
        if plan.to_dict() != definitions.to_dict():
            raise CommitConflict("definitions were applied by someone else since this plan was made; plan again")
        return self._change(verbs.apply_plan, self._runtime, plan, as_shown=True, rights=self._rights)

    @recorded
    def create_table(
        self,
        name: str,
        keys: str | Sequence[str],
        timestamp: str | None = None,
        *,
        schema: Any,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ViewDetail:
        """MANAGE on the view of its name."""
        self._rights.require(Privilege.MANAGE, Kind.VIEW, check_text(name, "name"))
        request = verbs.TableRequest.of(name, keys, timestamp, schema, description, tags)
        self._change(verbs.create_table, self._runtime.as_operator(), request)
        return self._call(describe.view, self._runtime, name)

    @recorded
    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """MANAGE on the view, and on services of which older versions are removed with it."""
        name = view_name(view)
        self._rights.require(Privilege.MANAGE, Kind.VIEW, name)
        runtime = self._runtime.as_operator()
        return self._remove(verbs.remove_version, runtime, name, check_version(version), check_flag(dry_run, "dry_run"), self._rights)

    @recorded
    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """As `remove_version`."""
        name = view_name(view)
        self._rights.require(Privilege.MANAGE, Kind.VIEW, name)
        return self._remove(verbs.remove_view, self._runtime.as_operator(), name, check_flag(dry_run, "dry_run"), self._rights)

    @recorded
    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """MANAGE on the service."""
        name = service_name(service)
        self._rights.require(Privilege.MANAGE, Kind.SERVICE, name)
        return self._change(verbs.remove_service, self._runtime.as_operator(), name, check_flag(dry_run, "dry_run"))

    def _remove(self, verb: Callable[P, Removal], *arguments: P.args, **named: P.kwargs) -> Removal:
        """As `_change`. Raises: Conflict without what needs the view and may not be seen."""
        rights = self._given
        try:
            return self._change(verb, *arguments, **named)
        except Conflict as error:
            if rights.is_unlimited or "training_sets" not in error.details or rights.allows(Privilege.USE, rights.catalog):
                raise
            details = error.details
            services = [name for name in details["services"] if rights.sees(Kind.SERVICE, name.rpartition(" ")[0])]
            models = [name for name in details["models"] if rights.sees(Kind.MODEL, name.rpartition("/")[0])]
            made = [id for id in details["training_sets"] if rights.sees(Kind.TABLE, f"{self._training_sets}.{id.rpartition('-')[0]}")]
            known = f", such as {format_names([*services, *models, *made])}" if services or models or made else ""
            raise Conflict(
                f"view {details['view']} cannot be removed: services, models, training sets, predictions or tags need it{known}; somebody"
                " with USE on the catalog is told which. Nothing was removed",
                **{**details, "services": services, "models": models, "training_sets": made},
            ) from None

    def _make_plan(self, definitions: Any) -> Plan:
        if isinstance(definitions, str | os.PathLike):
            self._rights.require_files()
        return self._call(verbs.make_plan, self._runtime, verbs.load_definitions(definitions), self._rights)

    def _change(self, verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """As `_call`. Raises: CommitConflict without the names of what others have applied meanwhile."""
        try:
            return self._call(verb, *arguments, **named)
        except CommitConflict as error:
            if self._given.is_unlimited or "applied" not in error.details:
                raise
            raise CommitConflict("definitions were applied by someone else meanwhile; nothing was done, try again") from None
