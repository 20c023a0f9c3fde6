"""Which version answers for an alias. When the alias moves, the new version is loaded in the background; the old one answers until then."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from featurestore.masking import logger_of

logger = logger_of(__name__)

RETRY_SECONDS = 30.0
"""How long after a failure a version is loaded again: MLflow may have been down."""

Selection = tuple[str, str | None]
"""A registered model and an alias; None: the alias of the setting `default_alias`, or else the only version."""


@dataclass(frozen=True)
class Behind:
    """An alias whose version could not be loaded, so that the version before still answers; `answering` None: there was none."""

    model: str
    alias: str | None
    version: str
    answering: str | None
    error: str

    def __str__(self) -> str:
        at = "" if self.alias is None else f"@{self.alias}"
        answers = "requests for it fail" if self.answering is None else f"version {self.answering} answers"
        return f"{self.model}{at}: version {self.version} cannot be loaded ({self.error}), {answers}; see the log"


class AliasSwap:
    """The versions that answer for the aliases that were asked for. May be used from several threads.

    `is_loaded` says whether a version is in memory, `load` loads one, and `release` is called with one that answers for no alias any more.
    """

    def __init__(
        self, is_loaded: Callable[[str, str], bool], load: Callable[[str, str], object], release: Callable[[str, str], None]
    ) -> None:
        self._is_loaded, self._load, self._release = is_loaded, load, release
        self._lock = threading.Lock()
        self._answering: dict[Selection, str] = {}
        self._loading: set[tuple[str, str]] = set()
        self._failed: dict[tuple[str, str], tuple[float, str]] = {}
        self._targets: dict[Selection, str] = {}

    def select(self, name: str, alias: str | None, version: str) -> str:
        """The version that answers for an alias that MLflow says is `version` now. If another one does still, `version` is being loaded."""
        selection = (name, alias)
        answering = self._answering.get(selection)
        if answering == version and self._targets.get(selection) in (None, version):
            return version
        with self._lock:
            answering = self._answering.get(selection)
            if answering is None or self._is_loaded(name, version) or not self._is_loaded(name, answering):
                self._take(selection, version)
                return version
            self._targets[selection] = version
            if answering != version:
                self._begin(name, version)
            return answering

    def selections(self, name: str) -> list[str | None]:
        """The aliases of a model that were asked for."""
        with self._lock:
            return [alias for model, alias in self._answering if model == name]

    def behind(self) -> list[Behind]:
        """The aliases whose version could not be loaded."""
        with self._lock:
            return [
                Behind(name, alias, version, self._answering[name, alias], self._failed[name, version][1])
                for (name, alias), version in self._targets.items()
                if (name, version) in self._failed and self._answering.get((name, alias)) != version
            ]

    def _take(self, selection: Selection, version: str) -> None:
        before = self._answering.get(selection)
        self._answering[selection] = version
        self._targets.pop(selection, None)
        name = selection[0]
        if before not in (None, version) and not any(model == name and at == before for (model, _), at in self._answering.items()):
            # Requests in flight keep it until they have ended.
            self._release(name, str(before))

    def _begin(self, name: str, version: str) -> None:
        failed = self._failed.get((name, version))
        if (name, version) in self._loading or (failed is not None and time.monotonic() - failed[0] < RETRY_SECONDS):
            return
        self._loading.add((name, version))
        threading.Thread(target=self._run, args=(name, version), name=f"load {name} {version}", daemon=True).start()

    def _run(self, name: str, version: str) -> None:
        error: str | None = None
        try:
            self._load(name, version)
        except Exception as raised:  # a model may raise anything; the version before keeps serving
            logger.exception("version %s of model %s cannot be loaded; the version before keeps serving", version, name)
            error = type(raised).__name__
        except SystemExit as raised:
            error = type(raised).__name__
        with self._lock:
            self._loading.discard((name, version))
            if error is not None:
                self._failed[name, version] = (time.monotonic(), error)
                return
            self._failed.pop((name, version), None)
            for selection in [key for key, target in self._targets.items() if key[0] == name and target == version]:
                self._take(selection, version)
