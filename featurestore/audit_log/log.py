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
from featurestore.audit_log.journal import Waiting
from featurestore.audit_log.keyed_hashes import entity_text, new_keyed_hash
from featurestore.audit_log.segment_file import SegmentCutShort
from featurestore.errors import FeatureStoreError, NotReady, OutOfResources
from featurestore.masking import logger_of
from featurestore.settings import Settings
from featurestore.values.humanize import format_size

logger = logger_of(__name__)

FREE_BYTES = 16 << 20
"""Free bytes of the disk below which nothing is answered: what is being answered then can still be recorded."""
LINKED_CHAINS = 50
"""Chains whose heads an opened chain records."""
MOST_LEFT = 16
"""Chains that somebody else damaged, and whose files this process keeps open."""
OPENED = "audit log opened"
"""The action of the entry that says that a process continues a chain, with the heads of others in its scope."""
RETIRED = "audit log heads retired"
"""The action of the entry with the heads of chains that are no longer in the table's properties."""
LINKS = (OPENED, RETIRED)
"""The actions of entries with heads of other chains."""
HEADS = "heads"


class AuditLog:
    """Records entries in a chain of its own, which it opens at the first entry. May be used from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, audit_path(settings)
        self.catalog = settings.catalog_name
        self.enabled = settings.audit_log != "off"
        self.waits_for_disk = settings.audit_log == "fsync"
        self._limit = settings.audit_log_bytes()
        self._lock = threading.Lock()
        self._chain: Chain | None = None
        self._left: list[Chain] = []
        self._moved: list[Waiting] = []
        self._keyed: hashlib.blake2b | None = None
        self.refusal: FeatureStoreError | None = None
        """Why nothing can be recorded at the moment; None if it can. Who asks it before something is done prevents that it is done."""

    def record(self, principal: str, action: str, **fields: Any) -> None:
        """Append an entry, with the fields of `Done`. Raises: OutOfResources or NotReady; then nothing was recorded."""
        self._append(encode(Done(principal, action, **fields)))

    def record_soon(self, members: bytes) -> None:
        """As `record`, for an entry that is encoded already, and gets its hash later, in a group; `settle` writes what waits."""
        try:
            (self._chain or self._open()).append_soon(members)
        except OSError:
            # A damaged file, or a full disk: the same once more, with all that there is to do then.
            self._append(members)

    def settle(self) -> None:
        """Write the entries that wait for their hashes. Raises: as `record`; then they wait."""
        if self._chain is not None:
            try:
                self._settle(self._chain)
            except OSError as error:
                self.refusal = _unwritable(error)
                raise self.refusal from error

    def record_heads(self, action: str, heads: Mapping[str, tuple[int, str]]) -> tuple[str, int]:
        """Record the heads of other chains; the chain and the number of the entry. Raises: as `record`."""
        self.record(f"process {os.getpid()}", action, scope=_scope_of(heads))
        with self._lock:
            chain = self._chain
        return ("", 0) if chain is None else (chain.id, chain.number)

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
            elif not self._chain.is_intact():
                self._leave(self._chain, SegmentCutShort(f"the file of chain {self._chain.id} was removed or cut short"))
                self._open()
            else:
                self._settle(self._chain)
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
        keyed = self._keyed
        if keyed is None:
            try:
                keyed = self._keyed = new_keyed_hash(load_secret(self._folder))
            except OSError as error:
                raise _unwritable(error) from error
        # A copy has hashed the key already.
        hashed = keyed.copy()
        hashed.update(content)
        return hashed.hexdigest()

    def digest_of_entity(self, keys: Mapping[str, Any]) -> str:
        """The keyed hash of an entity; 42 and "42" are the same key."""
        return self.digest(entity_text(keys))

    def close(self) -> None:
        """Let another process continue the chain."""
        with self._lock:
            for chain in (*self._left, self._chain):
                if chain is not None:
                    chain.close()
            self._chain, self._left = None, []

    def _append(self, members: bytes) -> None:
        try:
            chain = self._chain or self._open()
            try:
                chain.append(members)
            except SegmentCutShort as error:
                self._leave(chain, error)
                self._open().append(members)
        except OSError as error:
            self.refusal = _unwritable(error)
            raise self.refusal from error

    def _settle(self, chain: Chain) -> None:
        try:
            chain.settle()
        except SegmentCutShort as error:
            self._leave(chain, error)
            self._open()

    def _open(self) -> Chain:
        with self._lock:
            if self._chain is None:
                chain = open_chain(self._folder)
                others = sorted(read_heads(self._folder).items(), key=lambda item: -item[1].entry.time)[:LINKED_CHAINS]
                heads = {id: (line.entry.number, line.hash) for id, line in others if id != chain.id}
                # Of chains that this process wrote, it knows the last entries, also if they are not in their files any more.
                heads |= {left.id: (left.number, left.hash) for left in self._left}
                chain.append(encode(Done(f"process {os.getpid()}", OPENED, scope=_scope_of(heads))))
                while self._moved:
                    chain.append(self._moved[0].members, self._moved[0].time)
                    del self._moved[0]
                for left in self._left:
                    left.remove_journal()
                self._chain = chain
            return self._chain

    def _leave(self, chain: Chain, error: SegmentCutShort) -> None:
        """Begin another chain, whose first entry has the last one of this chain: what is missing of it is found."""
        with self._lock:
            if chain is not self._chain:
                return
            logger.error("the audit log was tampered with, and goes on in another chain: %s", error)
            self._moved += chain.leave(error)
            self._left.append(chain)
            self._chain = None
            # Kept for a while: other threads may be about to append to them.
            if len(self._left) > MOST_LEFT:
                self._left.pop(0).close()


def _scope_of(heads: Mapping[str, tuple[int, str]]) -> Mapping[str, Any]:
    return {HEADS: {chain: list(head) for chain, head in heads.items()}}


def _unwritable(error: OSError) -> FeatureStoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutOfResources(
            "the disk of the audit log is full; nothing is done that cannot be recorded: free space in the home folder", resource="disk"
        )
    return NotReady(
        f"the audit log cannot be written ({error.strerror or type(error).__name__}); nothing is done that cannot be recorded: check the"
        " folder audit/ of the home folder"
    )
