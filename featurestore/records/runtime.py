"""The settings, catalog, engine and online store that all pipelines share."""

import copy
from collections.abc import Callable, Collection
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self, TypeVar

from featurestore.distribution.factory import open_distributor
from featurestore.errors import Forbidden
from featurestore.event_sender import EventSender
from featurestore.lakehouse.catalog import Catalog, open_catalog
from featurestore.online.factory import open_online
from featurestore.online.store import OnlineStore
from featurestore.push.event_log import EventLog
from featurestore.push.factory import open_event_log
from featurestore.push.group_commit import GroupCommit
from featurestore.records import authors
from featurestore.records.lease_claims import SeenClaims
from featurestore.records.operator import Operator
from featurestore.records.reader import Reader
from featurestore.settings import Settings
from featurestore.values.recent import Recent

if TYPE_CHECKING:
    from featurestore.distribution.work import Distributor
    from featurestore.engine.session import Engine, ExpressionEvaluator
    from featurestore.files.file_cache import FileCache

ComponentT = TypeVar("ComponentT")
Look = Callable[[bool, Collection[str]], None]
"""A look at MLflow, with the arguments of `RegistryLook.look`."""
INSPECTIONS = 1024
"""The number of views whose inspections are kept."""


class Runtime:
    """The shared components, each opened once on first use. May be used from several threads."""

    def __init__(self, settings: Settings, engine: "Engine | None" = None, look: Look | None = None) -> None:
        """`engine` is used instead of DuckDB; `close` closes it too. `look` is what `look_at_models` calls."""
        self.settings = settings
        self._look = look
        self._for_requests = False
        self.reader: Reader = Operator()
        self._author = ""
        self.source_folders: tuple[Path, ...] | None = None
        self.source_locations: tuple[str, ...] | None = None
        self._interruptible: ExpressionEvaluator | None = None
        self.inspections: Recent[str, tuple[Any, Any]] = Recent(INSPECTIONS)
        """What `SourceInspector` found of views, by name, since a plan and an apply inspect the same ones."""
        self.push_targets: Recent[str, Any] = Recent(INSPECTIONS)
        """The sources to which this process pushes, by name."""
        self._lock = RLock()
        self._opened: dict[str, Any] = {} if engine is None else {"engine": engine}

    def for_requests(self, interruptible: "ExpressionEvaluator | None" = None) -> Self:
        """A runtime for a server's requests, with the same components, that reads sources only in `settings.source_folders` and
        `settings.source_locations`.

        `interruptible` evaluates expressions on data of requests, which may take long; if None, the engine evaluates them.
        """
        runtime = copy.copy(self)
        runtime.source_folders = self.settings.source_folders
        runtime.source_locations = self.settings.source_locations
        runtime._interruptible = interruptible
        runtime._for_requests = True
        return runtime

    def for_reader(self, reader: Reader) -> Self:
        """A runtime with the same components for the requests of one principal, which reads only rows that it may."""
        runtime = copy.copy(self)
        runtime.reader = reader
        return runtime

    def as_operator(self) -> Self:
        """A runtime with the same components that reads as the store does, whoever asked: for verbs that return none of those rows."""
        return self.for_reader(Operator())

    @property
    def operator(self) -> Operator:
        """The store as the reader. Raises: Forbidden in the runtime of a principal, whose rows are granted by its `reader`."""
        if not isinstance(self.reader, Operator):
            raise Forbidden("this reads rows with all rights of the store; ask an administrator to do it")
        return self.reader

    def for_author(self, name: str) -> Self:
        """A runtime with the same components whose changes are recorded as this principal's."""
        runtime = copy.copy(self)
        runtime._author = name
        return runtime

    @property
    def principal(self) -> str | None:
        """The principal of `for_author`; None for the operator."""
        return self._author or None

    @property
    def author(self) -> str:
        """Who is recorded for changes: the principal of `for_author`, else the user of this process; empty if it has none."""
        return self._author or authors.author()

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

    @property
    def distributor(self) -> "Distributor | None":
        """The workers of the setting `engine`; None if this process computes all by itself. Raises: NotReady; MissingExtra."""
        address = self.settings.engine
        return None if address is None else self._once("distributor", lambda: open_distributor(address.reveal()))

    def evaluator(self, brief: bool) -> "ExpressionEvaluator":
        """The evaluator of expressions on a few rows; `brief`: the evaluation is known to be short, so it need not be interruptible."""
        return self.engine.evaluator if brief or self._interruptible is None else self._interruptible

    @property
    def online(self) -> OnlineStore:
        """The online store. Raises: NotReady if it cannot be reached, or may evict rows."""
        return self._once("online", lambda: open_online(self.settings.online_url(), allow_eviction=self.settings.online_allow_eviction))

    @property
    def event_log(self) -> EventLog:
        """The log of pushed events. Raises: NotReady if it cannot be reached; RequestError if there is none for this catalog."""
        return self._once("event log", lambda: open_event_log(self.settings))

    @property
    def pushes(self) -> GroupCommit:
        """What adds pushed events to the log. Raises: as `event_log`."""
        return self._once("pushes", lambda: GroupCommit(self.event_log))

    @property
    def files(self) -> "FileCache":
        """The cache of the local files of sources and spines."""
        from featurestore.files.file_cache import FileCache  # noqa: PLC0415

        return self._once("files", lambda: FileCache(lambda: self.engine))

    @property
    def seen_claims(self) -> SeenClaims:
        """The claims of leases that this process has seen."""
        return self._once("seen claims", SeenClaims)

    @property
    def lineage_events(self) -> EventSender | None:
        """Where OpenLineage events about runs are sent; None if they are not sent."""
        address = self.settings.openlineage_url
        return None if address is None else self._once("lineage events", lambda: EventSender(address))

    def fresh(self, make: Callable[[], ComponentT]) -> ComponentT:
        """What brings pushed events into the online store, which packages above this one make once."""
        return self._once("fresh", make)

    def features_table(self, name: str) -> str:
        """The catalog identifier of a feature table such as `customer_orders_v1`."""
        return f"{self.settings.features_namespace}.{name}"

    def look_at_models(self, changed: Collection[str] = ()) -> None:
        """Record what happened to models in MLflow since the last look. If MLflow does not respond, what is recorded stays: then a request
        of a server waits for it for a moment only.

        `changed`: registered models of which MLflow says that they have changed. They are read again now, however long it takes.
        """
        if self._look is not None:
            self._look(self._for_requests and not changed, changed)

    def close(self) -> None:
        """Close the components that were opened."""
        if (fresh := self._opened.get("fresh")) is not None:
            # Without the lock: its thread may open other components before it ends.
            fresh.close()
        with self._lock:
            # First the events that wait, since they are made from what the catalog has.
            for name in ("lineage events", "pushes", "event log", "online", "distributor", "engine", "catalog"):
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
