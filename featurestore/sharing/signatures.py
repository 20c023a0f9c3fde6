"""Signed addresses of files: each is for one file, one key of a recipient and a few minutes."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from featurestore import private
from featurestore.errors import NotReady, Unauthorized

LIFE_SECONDS = 600
"""How long an address is valid, in seconds."""
_KEY_BYTES = 32


@dataclass(frozen=True)
class FileAddress:
    """What is signed: the shared table, the file, the key of the recipient, and the end in milliseconds since the epoch.

    `rules` are the policies for the recipient, which are no part of the address: it holds as long as they are the same.
    """

    share: str
    schema: str
    table: str
    file: str
    key: str
    expires: int
    rules: str = ""

    def path(self, prefix: str) -> str:
        """The path of the file under a prefix, without the query."""
        named = [quote(part, safe="") for part in (self.share, self.schema, self.table, self.file)]
        return f"{prefix}/shares/{named[0]}/schemas/{named[1]}/tables/{named[2]}/files/{named[3]}"


class Signer:
    """Signs addresses with a secret in the home folder that only its owner can read; all processes of a server have the same."""

    def __init__(self, home: Path) -> None:
        self._path = home / "sharing" / "signing.key"
        self._secret: bytes | None = None

    def sign(self, address: FileAddress) -> str:
        """The signature of an address, in hexadecimal."""
        return hmac.new(self._load(), _message(address), hashlib.sha256).hexdigest()

    def check(self, address: FileAddress, signature: str, now: int) -> None:
        """Check a signature, in constant time, and that it has not expired, `now` in milliseconds since the epoch. Raises: Unauthorized."""
        if not hmac.compare_digest(self.sign(address).encode(), signature.encode("utf-8", "replace")):
            raise Unauthorized(
                "the address of the file is not as it was signed, or other masks or row filters are in force since; query the table again"
            )
        if now >= address.expires:
            raise Unauthorized(f"the address of the file has expired: it is valid for {LIFE_SECONDS // 60} minutes; query the table again")

    def _load(self) -> bytes:
        if self._secret is None:
            try:
                self._secret = self._read() or self._create()
            except OSError as error:
                raise NotReady("the secret that signs the addresses of files cannot be read; see the server's log") from error
        return self._secret

    def _read(self) -> bytes | None:
        """The secret on disk; None if there is none yet."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        if len(content) != _KEY_BYTES:
            raise NotReady("the secret that signs the addresses of files is damaged: remove sharing/signing.key in the home folder")
        return content

    def _create(self) -> bytes:
        """Write a new secret, unless another process does so at the same time; then use that one."""
        private.make_folder(self._path.parent)
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        private.write(new, secrets.token_bytes(_KEY_BYTES))
        try:
            # Unlike a rename, a link does not replace the secret of another process.
            os.link(new, self._path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
        return self._path.read_bytes()


def _message(address: FileAddress) -> bytes:
    parts = (address.share, address.schema, address.table, address.file, address.key, str(address.expires), address.rules)
    return b"".join(len(content := part.encode("utf-8", "replace")).to_bytes(4, "big") + content for part in parts)
