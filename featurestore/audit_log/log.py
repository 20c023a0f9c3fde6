"""The audit log of one process: what it records is in a file before it is answered, and what cannot be recorded is refused."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from typing import Any

from featurestore.audit_log.chain import Chain, open_chain
from featurestore.audit_log.entry import Done, encode
from featurestore.audit_log.folder import audit_path, folder_bytes, load_secret, read_heads
from featurestore.errors import FeatureStoreError, NotReady, OutOfResources
from featurestore.masking import logger_of
from featurestore.settings import Settings
from featurestore.values.humanize import format_size

logger = logger_of(__name__)

FREE_BYTES = 16 << 20
"""Free bytes of the disk below which nothing is answered: what is being answered then can still be recorded."""
LINKED_CHAINS = 50
"""Chains whose heads an opened chain records."""
OPENED = "audit log opened"
"""The action of the entry that says that a process continues a chain, with the heads of others in its scope."""
HEADS = "heads"
DIGEST_BYTES = 16
"""Bytes of a keyed hash."""


class AuditLog:
    """Records entries in a chain of its own, which it opens at the first entry. May be used from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, audit_path(settings)
        self.enabled = settings.audit_log != "off"
        self.waits_for_disk = settings.audit_log == "fsync"
        self._limit = settings.audit_log_bytes()
        self._lock = threading.Lock()
        self._chain: Chain | None = None
        self._secret: bytes | None = None
        self.refusal: FeatureStoreError | None = None
        """Why nothing can be recorded at the moment; None if it can. Who asks it before something is done prevents that it is done."""

    def record(self, principal: str, action: str, **fields: Any) -> None:
        """Append an entry, with the fields of `Done`. Raises: OutOfResources or NotReady; then nothing was recorded."""
        self.record_encoded(encode(Done(principal, action, **fields)))

    def record_encoded(self, members: bytes) -> None:
        """As `record`, for an entry that is encoded already."""
        try:
            (self._chain or self._open()).append(members)
        except OSError as error:
            self.refusal = _unwritable(error)
            raise self.refusal from error

    def sync(self) -> None:
        """Wait until what this process recorded is on the disk. Raises: as `record`."""
        if self._chain is not None:
            try:
                self._chain.sync()
            except OSError as error:
                self.refusal = _unwritable(error)
                raise self.refusal from error

    def check(self) -> None:
        """Look whether there is room, and set `refusal`. A server does this every second, since it takes too long for each request."""
        try:
            if self._chain is None:
                self._open()
            free, waiting = shutil.disk_usage(self._folder).free, folder_bytes(self._folder)
        except OSError as error:
            self.refusal = _unwritable(error)
            return
        if free < FREE_BYTES:
            self.refusal = _unwritable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        elif waiting > self._limit:
            self.refusal = OutOfResources(
                f"{format_size(waiting)} of the audit log wait to be written to its table, more than audit_log_limit; nothing is done that"
                " cannot be recorded: see why the table cannot be written (featurestore audit-log verify, the server's log)",
                resource="disk",
            )
        else:
            self.refusal = None

    def digest(self, content: bytes) -> str:
        """A keyed hash: whoever does not have the secret of the home folder cannot try which keys it stands for."""
        secret = self._secret
        if secret is None:
            try:
                secret = self._secret = load_secret(self._folder)
            except OSError as error:
                raise _unwritable(error) from error
        return keyed_hash(secret, content)

    def digest_of_entity(self, keys: Mapping[str, Any]) -> str:
        """The keyed hash of an entity; 42 and "42" are the same key."""
        return self.digest(entity_text(keys))

    def close(self) -> None:
        """Let another process continue the chain."""
        with self._lock:
            if self._chain is not None:
                self._chain.close()
                self._chain = None

    def _open(self) -> Chain:
        with self._lock:
            if self._chain is None:
                chain = open_chain(self._folder)
                others = sorted(read_heads(self._folder).items(), key=lambda item: -item[1].entry.time)[:LINKED_CHAINS]
                heads = {id: [line.entry.number, line.hash] for id, line in others if id != chain.id}
                chain.append(encode(Done(f"process {os.getpid()}", OPENED, scope={HEADS: heads})))
                self._chain = chain
            return self._chain


def keyed_hash(secret: bytes, content: bytes) -> str:
    """The keyed BLAKE2b of some bytes as hexadecimal digits: a message authentication code as HMAC is, in half of the time."""
    return hashlib.blake2b(content, key=secret, digest_size=DIGEST_BYTES).hexdigest()


def entity_text(keys: Mapping[str, Any]) -> bytes:
    """The canonical bytes of the keys of an entity."""
    if len(keys) == 1:
        ((name, value),) = keys.items()
        return f"{name}\0{value}".encode()
    return "\0".join(f"{name}\0{keys[name]}" for name in sorted(keys)).encode()


def _unwritable(error: OSError) -> FeatureStoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutOfResources(
            "the disk of the audit log is full; nothing is done that cannot be recorded: free space in the home folder", resource="disk"
        )
    return NotReady(
        f"the audit log cannot be written ({error.strerror or type(error).__name__}); nothing is done that cannot be recorded: check the"
        " folder audit/ of the home folder"
    )
