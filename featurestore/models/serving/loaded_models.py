"""Models in a server: each version is loaded once, and gets its features from the server's store."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import overload

from featurestore.errors import FeatureStoreError, NotFound, NotReady, RequestError
from featurestore.masking import logger_of
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.answers import Answers
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.models.registry import model_versions
from featurestore.models.registry.model_versions import RegisteredVersions
from featurestore.models.serving.alias_swap import AliasSwap, Behind
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.store import FeatureStore

logger = logger_of(__name__)

WAIT_SECONDS = 12.0
"""How long a request waits for MLflow's first answer about a model: two attempts of time_limits.ASK_SECONDS."""


class LoadedModels:
    """A cache of at most `limit` models, from which the least recently used is evicted.

    What MLflow says of aliases is asked for again after `seconds`, by one thread for all requests. While MLflow does not respond, the
    versions of its last answer predict. With `followed`, somebody calls `refresh` with what MLflow says: then no request waits for MLflow
    after the first one for a model, and when an alias moves, the version before answers until the new one is loaded.
    """

    def __init__(
        self,
        store: FeatureStore,
        limit: int = 8,
        seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        followed: bool = False,
    ) -> None:
        self._store = store
        self._limit = limit
        self.first_request = threading.Event()
        """Set when MLflow was first asked: it makes the tables of a new database then, which two threads cannot do at once."""
        self._lock = threading.RLock()
        self._swap = AliasSwap(self._is_loaded, self._load, self._release) if followed else None
        self._not_loaded: list[Behind] = []
        self._pinned: set[tuple[str, str]] = set()
        self._stamps: dict[str, object] = {}
        self._expired: set[str] = set()
        self._answers = Answers(self._ask, seconds=seconds, wait=WAIT_SECONDS, clock=clock)
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._loading: dict[tuple[str, str], threading.Lock] = {}

    def load_aliased(self, names: Collection[str], stopped: Callable[[], bool]) -> None:
        """Load the versions with aliases of these registered models ahead of the first requests.

        Errors are logged; requests report them again. `stopped` is called before each version; True ends the loading.
        """
        for name in names:
            try:
                aliases = self._answers.get(name, patient=True).aliases
            except FeatureStoreError as error:
                logger.warning("model %s is not loaded ahead of its first request: %s", name, error)
                continue
            for alias, version in sorted(aliases.items())[: self._limit]:
                if stopped():
                    return
                try:
                    self.get(name, alias=alias)
                except FeatureStoreError as error:
                    logger.warning("version %s of model %s is not loaded ahead of its first request: %s", version, name, error)
                    self._not_loaded.append(Behind(name, alias, version, None, type(error).__name__))

    def get(self, name: str, version: int | str | None = None, alias: str | None = None) -> LoadedModel:
        """The model with a version number or alias, or the version with the setting `default_alias`, or else the only version; loaded on
        the first request.

        Raises: NotFound with the nearest names, versions or aliases; NotReady if MLflow does not respond, or no version has the default
        alias; as LoadedModel.
        """
        if version is not None and alias is not None:
            raise RequestError("pass version= or alias=, not both")
        with naming_deleted(self._store.backend.runtime, _address(name, version, alias)):
            number = str(version) if version is not None else self._resolve(self._known(name), alias)
            loaded = self._find(name, number)
            if loaded is None:
                loaded = self._load(name, number)
        if version is not None:
            self._pin(name, number)
        return loaded

    def find_loaded(self, name: str, version: int | str | None = None, alias: str | None = None) -> LoadedModel | None:
        """The model that `get` returns, if it is in memory and MLflow need not be asked, or does not respond; None: call `get`."""
        if version is not None and alias is not None:
            return None
        if version is not None:
            self._pin(name, str(version))
            return self._find(name, str(version))
        known = self._known(name, ask=False)
        return None if known is None else self._find(name, self._resolve(known, alias))

    @overload
    def known(self, name: str) -> RegisteredVersions: ...

    @overload
    def known(self, name: str, ask: bool) -> RegisteredVersions | None: ...

    def known(self, name: str, ask: bool = True) -> RegisteredVersions | None:
        """What MLflow said last of a model's aliases. Without `ask`, None if it would have to be asked. Raises: as `get`."""
        return self._known(name, ask)

    def get_known(self, known: RegisteredVersions, alias: str) -> LoadedModel:
        """The model with an alias in an answer of MLflow, whatever it has said since; loaded if it is not in memory. Raises: as `get`."""
        version = self._resolve(known, alias)
        return self._find(known.name, version) or self._load(known.name, version)

    def find_known(self, known: RegisteredVersions, alias: str) -> LoadedModel | None:
        """As `get_known`; None if the version is not in memory."""
        return self._find(known.name, self._resolve(known, alias))

    def expire(self, name: str) -> None:
        """Ask MLflow about a model again at its next request."""
        self._answers.expire(name)
        self._expired.add(name)

    def names(self) -> list[str]:
        """The registered models that were asked for."""
        return self._answers.names()

    def refresh(self, name: str, stamp: object, aliases: Mapping[str, str] | None) -> None:
        """Take what MLflow says of a model's aliases; None: there is no such model. `stamp` is another one after each change.

        Versions to which aliases have moved are loaded in the background.
        """
        if self._stamps.get(name) == stamp:
            return
        # What was first asked here may be newer than the first that somebody else was told.
        known = name in self._stamps
        if known and aliases is not None and self._store.settings.default_alias in aliases:
            self._answers.put(name, RegisteredVersions(name, aliases, None))
            self._stamps[name] = stamp
            self._swap_all(name)
            return

        # Which version is the only one is not among the aliases.
        def take(done: "Future[RegisteredVersions]") -> None:
            answered = None if done.exception() is not None else done.result().aliases
            # The answer may be newer than `aliases`. To record `stamp` for it would hide that the aliases are like that again later.
            if not isinstance(done.exception(), NotReady) and answered == aliases:
                self._stamps[name] = stamp
                self._swap_all(name)

        self._answers.ask(name).add_done_callback(take)

    def behind(self) -> list[Behind]:
        """The aliases whose version could not be loaded: the version before still answers, or none."""
        never = [behind for behind in self._not_loaded if self._is_still(behind)]
        return never if self._swap is None else [*never, *self._swap.behind()]

    def _is_still(self, behind: Behind) -> bool:
        known = self._answers.last(behind.model)
        named = known is not None and behind.alias is not None and known.aliases.get(behind.alias) == behind.version
        return named and not self._is_loaded(behind.model, behind.version)

    def _swap_all(self, name: str) -> None:
        known = self._answers.last(name)
        for alias in self._swap.selections(name) if self._swap is not None and known is not None else ():
            # An alias that was removed is an error of the next request for it.
            with suppress(NotFound, NotReady):
                self._resolve(known, alias)  # type: ignore[arg-type]

    @overload
    def _known(self, name: str) -> RegisteredVersions: ...

    @overload
    def _known(self, name: str, ask: bool) -> RegisteredVersions | None: ...

    def _known(self, name: str, ask: bool = True) -> RegisteredVersions | None:
        """What is known of a model. Without `ask`, None if MLflow would have to be asked, which it is here if it responds."""
        if self._swap is None:
            return self._answers.get(name) if ask else self._answers.peek(name)
        last = None if name in self._expired else self._answers.last(name)
        if last is not None or not ask:
            return last
        last = self._answers.get(name)
        self._expired.discard(name)
        return last

    def _resolve(self, known: RegisteredVersions, alias: str | None) -> str:
        default = self._store.settings.default_alias
        version = known.resolve(alias, default)
        if self._swap is None:
            return version
        return self._swap.select(known.name, default if alias is None and default in known.aliases else alias, version)

    def _is_loaded(self, name: str, version: str) -> bool:
        return (name, version) in self._models

    def _pin(self, name: str, version: str) -> None:
        """Keep a version that was asked for by its number, although no alias leads to it, as long as the cache has room for it."""
        if (name, version) in self._models and (name, version) not in self._pinned:
            with self._lock:
                self._pinned = {*(self._pinned & set(self._models)), (name, version)}

    def _release(self, name: str, version: str) -> None:
        with self._lock:
            if (name, version) not in self._pinned:
                self._models.pop((name, version), None)

    def _ask(self, name: str) -> RegisteredVersions:
        try:
            with limit_time():
                tracking.use_tracking(self._store.settings)
                return model_versions.registered_versions(name)
        finally:
            self.first_request.set()

    def _find(self, name: str, version: str) -> LoadedModel | None:
        with self._lock:
            cached = self._models.get((name, version))
            if cached is not None:
                self._models.move_to_end((name, version))
            return cached

    def _load(self, name: str, version: str) -> LoadedModel:
        """Load a version once, while concurrent requests for it wait; requests for other versions do not wait."""
        with self._lock:
            loading = self._loading.setdefault((name, version), threading.Lock())
        with loading:
            loaded = self._find(name, version)
            if loaded is not None:
                return loaded
            try:
                with limit_time():
                    tracking.use_tracking(self._store.settings)
                    # Names the versions that exist if there is no such one.
                    model_versions.resolve_version(name, version)
                loaded = LoadedModel(f"models:/{name}/{version}", self._store, name, version)
                with self._lock:
                    self._models[name, version] = loaded
                    while len(self._models) > self._limit:
                        self._models.popitem(last=False)
                return loaded
            finally:
                with self._lock:
                    self._loading.pop((name, version), None)


def _address(name: str, version: int | str | None, alias: str | None) -> str:
    return f"models:/{name}" + (f"/{version}" if version is not None else f"@{alias}" if alias is not None else "")
