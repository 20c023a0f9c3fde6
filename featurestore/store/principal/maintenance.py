"""Maintenance, erasures and named versions, as one principal may use them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded
from featurestore.values.arguments import WAIT

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.erasure_result import Erasure
    from featurestore.pipelines.maintenance.maintain import TableMaintenance
    from featurestore.pipelines.maintenance.named_version import NamedVersion
    from featurestore.pipelines.maintenance.repair import Repair
    from featurestore.pipelines.maintenance.retention import RetainedSnapshot


class PrincipalMaintenance(PrincipalVerbs):
    """Maintain and repair tables, erase keys, name versions."""

    @recorded
    def maintain(
        self,
        older_than: timedelta = timedelta(days=7),
        dry_run: bool = False,
        drop_superseded_after: timedelta | None = None,
        wait: timedelta = WAIT,
    ) -> list[TableMaintenance]:
        """An administrator."""
        self._require_unlimited("maintain")
        return self._store.maintain(older_than, dry_run, drop_superseded_after, wait)

    @recorded
    def erase(self, entity: str, key: Any, dry_run: bool = False, *, by: str | None = None) -> Erasure:
        """An administrator."""
        self._require_unlimited("erase")
        return self._store.erase(entity, key, dry_run, by=self._rights.check_author(by, "by"))

    @recorded
    def erasures(self) -> list[Erasure]:
        """An administrator."""
        self._require_unlimited("erasures")
        return self._store.erasures()

    @recorded
    def repair(self, dry_run: bool = False) -> list[Repair]:
        """An administrator."""
        self._require_unlimited("repair")
        return self._store.repair(dry_run)

    @recorded
    def tag(self, name: str, tables: str | Sequence[str] | None = None, *, by: str | None = None) -> NamedVersion:
        """An administrator."""
        self._require_unlimited("tag")
        return self._store.tag(name, tables, by=self._rights.check_author(by, "by"))

    @recorded
    def tags(self) -> list[NamedVersion]:
        """USE on the catalog: they name tables."""
        self._require_catalog()
        return self._store.tags()

    @recorded
    def remove_tag(self, name: str) -> NamedVersion:
        """An administrator."""
        self._require_unlimited("remove_tag")
        return self._store.remove_tag(name)

    @recorded
    def explain_retention(self) -> list[RetainedSnapshot]:
        """An administrator."""
        self._require_unlimited("explain_retention")
        return self._store.explain_retention()
