"""What every pipeline works with, wired once: settings, catalog, engine, online store."""

import copy
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self, TypeVar

from featurestore.lakehouse.catalog import Catalog, open_catalog
from featurestore.online.factory import open_online
from featurestore.online.store import OnlineStore
from featurestore.settings import Settings

if TYPE_CHECKING:
    from featurestore.engine.session import Engine, ExpressionEvaluator
    from featurestore.files.file_cache import FileCache

Part = TypeVar("Part")


class Runtime:
    """The floors below, each opened once, when it is first used, by whichever thread comes first."""

    def __init__(self, settings: Settings, engine: "Engine | None" = None) -> None:
        """`engine` None: DuckDB, opened when it is first used. `close` closes either."""
        self.settings = settings
        self.source_folders: tuple[Path, ...] | None = None
        self._endable: ExpressionEvaluator | None = None
        self._lock = RLock()
        self._opened: dict[str, Any] = {} if engine is None else {"engine": engine}

    def confined(self, endable: "ExpressionEvaluator | None" = None) -> Self:
        """The same, opened once for both, for what others ask for: files are read below the setting's `source_folders` only.

        `endable` evaluates expressions that may take long on what others send; None: the engine does.
        """
        found = copy.copy(self)
        found.source_folders = self.settings.source_folders
        found._endable = endable
        return found

    @property
    def catalog(self) -> Catalog:
        """The Iceberg catalog. Raises: NotReady when it cannot be reached."""
        return self._once("catalog", lambda: open_catalog(self.settings))

    @property
    def engine(self) -> "Engine":
        """The SQL engine."""
        return self._once("engine", self._open_engine)

    def _open_engine(self) -> "Engine":
        # Imported here, as for files: DuckDB takes a while to import, and many requests need none of it.
        from featurestore.engine.duck import DuckEngine  # noqa: PLC0415

        return DuckEngine(self.settings)

    def evaluator(self, brief: bool) -> "ExpressionEvaluator":
        """For expressions over a few rows; those that are not `brief` may not end by themselves."""
        return self.engine.evaluator if brief or self._endable is None else self._endable

    @property
    def online(self) -> OnlineStore:
        """The online store. Raises: NotReady when it cannot be reached, or may lose rows by itself."""
        return self._once("online", lambda: open_online(self.settings.online_url(), allow_eviction=self.settings.online_allow_eviction))

    @property
    def files(self) -> "FileCache":
        """The files of sources and spines on this machine."""
        from featurestore.files.file_cache import FileCache  # noqa: PLC0415

        return self._once("files", lambda: FileCache(lambda: self.engine))

    def features_table(self, name: str) -> str:
        """The catalog identifier of a feature table such as `customer_orders_v1`."""
        return f"{self.settings.features_namespace}.{name}"

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for name in ("online", "engine", "catalog"):
                if name in self._opened:
                    self._opened.pop(name).close()

    def _once(self, name: str, make: Callable[[], Part]) -> Part:
        found: Part | None = self._opened.get(name)
        if found is None:
            with self._lock:
                found = self._opened.get(name)
                if found is None:
                    found = self._opened[name] = make()
        return found
