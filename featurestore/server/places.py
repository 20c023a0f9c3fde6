"""Places on the server's machine, which its answers to a wrong request do not tell: callers have no use for them, and others may."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from featurestore.settings import Settings

HIDDEN = "<a path of the server>"
_ANY = re.compile(r"(?<![\w:/.}>*])/(\w[\w.-]*)(?:/[^\s'\"(),;:]*)+")

# Of every store that this process serves. Where one lies does not change.
_roots: set[str] = set()


def hide(settings: Settings) -> None:
    """From now on no error tells where these settings have anything lie."""
    warehouse = settings.catalog_properties().get("warehouse", "")
    online = settings.online_url()
    named = [
        *(str(path) for path in (settings.home_path(), settings.spill_path(), *settings.source_folders)),
        unquote(urlsplit(warehouse).path) if warehouse.startswith("file:") else warehouse,
        online.removeprefix("lmdb://") if online.startswith("lmdb:") else "",
        *(os.getcwd(), str(Path.home()), tempfile.gettempdir(), sys.prefix, sys.base_prefix),
    ]
    for path in named:
        for form in {path, os.path.realpath(path)} if path.startswith("/") else ():
            if len(Path(form).parts) > 1:
                _roots.add(form.rstrip("/"))


def without_places(value: Any) -> Any:
    """A JSON-like value whose texts name no path of the server below one of its folders, or anywhere."""
    if isinstance(value, str):
        return _told(value)
    if isinstance(value, Mapping):
        return {name: without_places(inner) for name, inner in value.items()}
    return [without_places(inner) for inner in value] if isinstance(value, list | tuple) else value


def _told(text: str) -> str:
    for root in sorted(_roots, key=len, reverse=True):
        if root in text:
            text = re.sub(rf"(?:file://)?{re.escape(root)}(?![\w.-])(?:/[^\s'\"(),;:]*)?", HIDDEN, text)
    # Any other, such as that of a library: what begins like a folder that this machine has.
    return _ANY.sub(lambda found: HIDDEN if os.path.isdir(f"/{found[1]}") else found[0], text)
