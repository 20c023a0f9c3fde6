"""Addresses of the files and databases of sources, and which of them a server may read from."""

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from featurestore.errors import RequestError
from featurestore.redaction import without_secrets


def refuse_location(address: str, locations: Sequence[str] | None) -> None:
    """Raise RequestError for an address that is in none of the locations (None: everywhere is allowed).

    A location is an address of the same server, and its path is that of the address or a folder above it.
    """
    if locations is None or any(_is_within(address, location) for location in locations):
        return
    raise RequestError(
        f"'{without_secrets(address)}': a server reads sources only from the addresses in its setting source_locations; have that setting"
        " name this one, or load the rows into an Iceberg table",
        field="path",
    )


def _is_within(address: str, location: str) -> bool:
    wanted, allowed = _parts(address), _parts(location)
    if wanted is None or allowed is None or wanted[:2] != allowed[:2]:
        return False
    folder = allowed[2].rstrip("/")
    return wanted[2] == allowed[2] or wanted[2].startswith(f"{folder}/")


def _parts(address: str) -> tuple[str, str, str] | None:
    """Scheme, server and path; None if the path may lead out of its folder, however a server decodes it."""
    scheme, separator, rest = address.partition("://")
    server, _, path = rest.partition("/")
    plain = unquote(unquote(path))
    if not separator or ".." in plain.split("/") or "\\" in plain or "\0" in plain or (scheme in ("http", "https") and "@" in server):
        return None
    try:
        urlsplit(f"{scheme}://{server}")
    except ValueError:
        return None
    return scheme.lower(), server.lower(), path
