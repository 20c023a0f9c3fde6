"""The threads of a server process that look whether the audit log can be written, and that flush it into its table."""

from featurestore.audit_log.flush import Flusher
from featurestore.audit_log.folder import audit_path, list_segments
from featurestore.audit_log.log import AuditLog
from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.server.watcher import Watcher
from featurestore.store import FeatureStore

logger = logger_of(__name__)

LOOK_SECONDS = 1.0
"""How often a process looks whether there is room for the log."""


class AuditWatch:
    """Watches the log of a process. A server without an audit log flushes what an earlier one has left."""

    def __init__(self, store: FeatureStore, log: AuditLog) -> None:
        self._log, self._settings = log, store.settings
        self._flusher = Flusher(store.backend.runtime)
        self._look = Watcher("room for the audit log", LOOK_SECONDS, log.check)
        self._flush = Watcher("table of the audit log", store.settings.audit_log_seconds, self._flush_all)
        self._flushes = False

    def start(self) -> None:
        """Begin to watch."""
        if self._log.enabled:
            self._log.check()
            self._look.start()
        self._flushes = self._log.enabled or bool(list_segments(audit_path(self._settings)))
        if self._flushes:
            self._flush.start()

    def stop(self) -> None:
        """Flush what is left, if the catalog responds, and let another process continue the chain."""
        if self._log.enabled:
            self._look.stop()
        if self._flushes:
            self._flush.stop()
            try:
                self._flush_all()
            except FeatureStoreError as error:
                logger.warning("entries of the audit log wait for the next server: %s", error)
        self._log.close()

    def _flush_all(self) -> None:
        self._log.settle()
        self._flusher.flush()
