"""The thread of a process that brings pushed events online: after its own pushes at once, and what others left within a second."""

import atexit
import threading
import time
from collections.abc import Iterable, Mapping

from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.masking import logger_of
from featurestore.pipelines.fresh.stream import PushedStream
from featurestore.records import definitions, stored_definition
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime

logger = logger_of(__name__)

LOOK_SECONDS = 1.0
"""How often a server looks for events that other processes pushed."""
IDLE_SECONDS = 30.0
"""After so long without a push, the thread of a process that is no server ends."""
CATCH_UP_SECONDS = 10.0
"""How long a publish waits for events that were pushed before."""


class Refresher:
    """Steps the streams of a process, all in one thread. May be used from several threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime.as_operator()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._serving = self._closed = False
        self._rounds = self._done = 0
        self._wanted: dict[str, int] = {}
        self._online: dict[str, int] = {}
        self._errors: dict[str, FeatureStoreError] = {}
        self._streams: dict[str, PushedStream] = {}
        self._registry: tuple[str | None, Registry] | None = None

    def serve(self) -> None:
        """Also look for events of other processes from now on."""
        with self._changed:
            self._serving = True
            self._start()

    @property
    def serving(self) -> bool:
        """Whether this is the process of a server, whose pushes do not wait until they are online."""
        return self._serving

    def want(self, source: str, offset: int) -> None:
        """Bring a source's events up to an offset online soon."""
        with self._changed:
            self._wanted[source] = max(offset, self._wanted.get(source, 0))
            self._errors.pop(source, None)
            self._start()
            self._changed.notify_all()

    def wait(self, source: str, offset: int, seconds: float) -> str | None:
        """Wait until a source's events up to an offset are online; the reason if they are not, None if they are."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._online.get(source, -1) < offset:
                if (error := self._errors.get(source)) is not None:
                    return error.message
                if self._closed or (not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline):
                    return f"they are not online within {seconds:g} seconds"
        return None

    def catch_up(self, seconds: float) -> None:
        """Bring all that was pushed online, after a publish that may have put older rows there; a server does it within a second anyway.

        Errors are logged: whoever published has done what was asked.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            if self._serving:
                return
            self._rounds += 1
            number = self._rounds
            self._start()
            self._changed.notify_all()
            while self._done < number and not self._closed and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())

    def close(self) -> None:
        """End the thread, and close the streams."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        atexit.unregister(self.close)

    def _start(self) -> None:
        if not self._closed and (self._thread is None or not self._thread.is_alive()):
            # A process that ends without closing its store must not take the thread's session with it half-way.
            atexit.register(self.close)
            self._thread = threading.Thread(target=self._work, name="featurestore-fresh", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            while (work := self._take()) is not None:
                wanted, number = work
                for name in self._sources() if number is not None else wanted:
                    self._step(name)
                if number is not None:
                    with self._changed:
                        self._done = number
                        self._changed.notify_all()
        finally:
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()

    def _take(self) -> tuple[list[str], int | None] | None:
        """The sources to bring online, and the number of the round if that is all of them; None at the end."""
        with self._changed:
            if not (self._wanted or self._closed or self._done < self._rounds):
                self._changed.wait(LOOK_SECONDS if self._serving else IDLE_SECONDS)
            if self._serving and not self._wanted:
                self._rounds += 1
            every = self._done < self._rounds
            if self._closed or not (self._wanted or every):
                # Under the lock, so that who wants something next starts another thread.
                self._thread = None
                return None
            wanted, self._wanted = list(self._wanted), {}
            return wanted, self._rounds if every else None

    def _step(self, name: str) -> None:
        """Bring the events of one source online. An error is kept for who waits, and the next look tries again."""
        try:
            stream = self._stream(name)
            offset = None if stream is None else stream.step()
        except FeatureStoreError as error:
            logger.warning("pushed events of source %s are not online: %s", name, error.message)
            with self._changed:
                self._errors[name] = error
                self._changed.notify_all()
            return
        with self._changed:
            self._errors.pop(name, None)
            # No view follows: whatever was pushed, nothing has to be done.
            self._online[name] = 2**63 if offset is None else offset
            self._changed.notify_all()

    def _sources(self) -> list[str]:
        try:
            return sorted(_pushed_views(self._known()))
        except FeatureStoreError as error:
            logger.warning("the sources of pushed events cannot be looked up: %s", error.message)
            return []

    def _known(self) -> Registry:
        """The registry, read again only if it has changed; then the streams begin again."""
        pointer = tables.pointer(self._runtime.catalog, definitions.registry_table(self._runtime))
        if self._registry is None or self._registry[0] != pointer:
            self._registry = (pointer, definitions.read_registry(self._runtime))
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()
        return self._registry[1]

    def _stream(self, name: str) -> PushedStream | None:
        known = self._known()
        if name not in self._streams:
            views = _pushed_views(known).get(name)
            if views is None:
                return None
            self._streams[name] = PushedStream(self._runtime, views[0][1].source, views)
        return self._streams[name]


def _pushed_views(known: Registry) -> Mapping[str, list[tuple[Applied, FeatureView]]]:
    """The versions of views over pushed sources, by source."""
    found: dict[str, list[tuple[Applied, FeatureView]]] = {}
    for (kind, _), versions in known.rows.items():
        for applied in versions if kind == "view" else ():
            if _is_pushed(applied):
                view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
                found.setdefault(view.source.name, []).append((applied, view))
    return found


def _is_pushed(applied: Applied) -> bool:
    source = applied.document.get("source")
    return isinstance(source, Mapping) and bool(source.get("schema"))


def refresher_of(runtime: Runtime) -> Refresher:
    """The refresher of a process."""
    return runtime.fresh(lambda: Refresher(runtime))


def catch_up(runtime: Runtime, published: Iterable[Applied]) -> None:
    """Bring what was pushed online again after these versions of views were published; see `Refresher.catch_up`."""
    if any(_is_pushed(applied) for applied in published):
        refresher_of(runtime).catch_up(CATCH_UP_SECONDS)
