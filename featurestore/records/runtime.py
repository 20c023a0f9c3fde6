"""The settings, catalog, engine and online store that all pipelines share."""

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

ComponentT = TypeVar("ComponentT")


class Runtime:
    """Opens each component once, on its first use; may be used from several threads."""

    def __init__(self, settings: Settings, engine: "Engine | None" = None) -> None:
        """`engine`: an engine to use instead of DuckDB; `close` closes it too."""
        self.settings = settings
        self.source_folders: tuple[Path, ...] | None = None
        self._interruptible: ExpressionEvaluator | None = None
        self._lock = RLock()
        self._opened: dict[str, Any] = {} if engine is None else {"engine": engine}

    def confined(self, interruptible: "ExpressionEvaluator | None" = None) -> Self:
        """A runtime for requests of others, with the same components: it reads source files only in the setting's `source_folders`.

        `interruptible` evaluates expressions on data from requests, which may take long; None: the engine evaluates them.
        """
        confined = copy.copy(self)
        confined.source_folders = self.settings.source_folders
        confined._interruptible = interruptible
        return confined

    @property
    def catalog(self) -> Catalog:
        """The Iceberg catalog. Raises: NotReady if it cannot be reached."""
        return self._once("catalog", lambda: open_catalog(self.settings))

    @property
    def engine(self) -> "Engine":
        """The SQL engine."""
        return self._once("engine", self._open_engine)

    def _open_engine(self) -> "Engine":
        # Imported here, and likewise in `files`: DuckDB is slow to import, and many requests do not need it.
        from featurestore.engine.duck import DuckEngine  # noqa: PLC0415

        return DuckEngine(self.settings)

    def evaluator(self, brief: bool) -> "ExpressionEvaluator":
        """The evaluator of expressions over a few rows; `brief`: the expressions are known to end soon."""
        return self.engine.evaluator if brief or self._interruptible is None else self._interruptible

    @property
    def online(self) -> OnlineStore:
        """The online store. Raises: NotReady if it cannot be reached, or may evict rows."""
        return self._once("online", lambda: open_online(self.settings.online_url(), allow_eviction=self.settings.online_allow_eviction))

    @property
    def files(self) -> "FileCache":
        """The local files of sources and spines."""
        from featurestore.files.file_cache import FileCache  # noqa: PLC0415

        return self._once("files", lambda: FileCache(lambda: self.engine))

    def features_table(self, name: str) -> str:
        """The catalog identifier of a feature table such as `customer_orders_v1`."""
        return f"{self.settings.features_namespace}.{name}"

    def close(self) -> None:
        """Close the components that were opened."""
        with self._lock:
            for name in ("online", "engine", "catalog"):
                if name in self._opened:
                    self._opened.pop(name).close()

    def _once(self, name: str, make: Callable[[], ComponentT]) -> ComponentT:
        component: ComponentT | None = self._opened.get(name)
        if component is None:
            with self._lock:
                component = self._opened.get(name)
                if component is None:
                    component = self._opened[name] = make()
        return component
