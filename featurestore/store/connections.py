"""The connections of a store to its catalog, its online store and MLflow, opened on first use."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from featurestore.backend import Backend
from featurestore.errors import RequestError, brief
from featurestore.records.lost_tables import LostTables
from featurestore.records.online_tables import OnlineTables
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import Services
from featurestore.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from featurestore.audit_log.log import AuditLog
    from featurestore.models.registry.registry_look import RegistryLook


class Connections:
    """What all methods of a store use. A context manager that closes it."""

    def __init__(self, home: str | Path | None = None, *, settings: Settings | None = None) -> None:
        if home is not None and settings is not None:
            raise RequestError("give FeatureStore either home= or settings=, not both; Settings includes a home")
        if settings is not None and not isinstance(settings, Settings):
            raise RequestError(f"settings={brief(settings)} is not a Settings object", field="settings")
        self.settings = settings if settings is not None else load_settings(home=home)
        self._runtime = Runtime(self.settings, look=self._look_at_models)
        self._audit_log: AuditLog | None = None if self.settings.audit_log == "off" else _open_audit_log(self.settings)
        self._registry_look: RegistryLook | None = None
        self._online_tables = OnlineTables(self._runtime)
        self._services = Services(self._runtime, self._online_tables)
        self._lost_tables = LostTables(self._runtime, self._online_tables)

    @property
    def catalog(self) -> Catalog:
        """The pyiceberg catalog, for example to load source tables."""
        return self._runtime.catalog

    @property
    def backend(self) -> Backend:
        """The stages of these methods, for servers. Not a stable interface."""
        return Backend(self._runtime, self._services, self._lost_tables)

    def close(self) -> None:
        """Close all connections. A closed store reopens them when it is used again."""
        self._runtime.close()
        if self._audit_log is not None:
            self._audit_log.close()
        self._runtime = Runtime(self.settings, look=self._look_at_models)
        self._registry_look = None
        self._online_tables = OnlineTables(self._runtime)
        self._services = Services(self._runtime, self._online_tables)
        self._lost_tables = LostTables(self._runtime, self._online_tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _look_at_models(self, brief: bool, changed: Collection[str]) -> None:
        """Record what happened to models in MLflow; nothing for a store that has no MLflow."""
        if self._registry_look is None:
            from featurestore.models.registry.looking import open_look  # noqa: PLC0415 - of a layer above, and only for stores with models

            self._registry_look = open_look(self._runtime)
        if self._registry_look is not None:
            self._registry_look.look(brief, changed)


def _open_audit_log(settings: Settings) -> AuditLog:
    # Imported here: only stores with an audit log need it.
    from featurestore.audit_log.log import AuditLog  # noqa: PLC0415

    return AuditLog(settings)
