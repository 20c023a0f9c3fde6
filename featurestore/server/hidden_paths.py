"""Mask file paths of the server in error responses: clients do not need them, and attackers could use them."""

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
_PATH = re.compile(r"(?<![\w:/.}>*])/(\w[\w.-]*)(?:/[^\s'\"(),;:]*)+")

# The folders of all stores that this process serves. They are only added to.
_roots: set[str] = set()


def hide_paths_of(settings: Settings) -> None:
    """Mask all folders of these settings from now on."""
    warehouse = settings.catalog_properties().get("warehouse", "")
    online = settings.online_url()
    folders = [
        *(str(path) for path in (settings.home_path(), settings.spill_path(), *settings.source_folders)),
        unquote(urlsplit(warehouse).path) if warehouse.startswith("file:") else warehouse,
        online.removeprefix("lmdb://") if online.startswith("lmdb:") else "",
        *(os.getcwd(), str(Path.home()), tempfile.gettempdir(), sys.prefix, sys.base_prefix),
    ]
    for path in folders:
        for folder in {path, os.path.realpath(path)} if path.startswith("/") else ():
            if len(Path(folder).parts) > 1:
                _roots.add(folder.rstrip("/"))


def without_paths(value: Any) -> Any:
    """A copy of a JSON-like value with paths of the server masked in its strings."""
    if isinstance(value, str):
        return _mask(value)
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    return [without_paths(inner) for inner in value] if isinstance(value, list | tuple) else value


def _mask(text: str) -> str:
    for root in sorted(_roots, key=len, reverse=True):
        if root in text:
            text = re.sub(rf"(?:file://)?{re.escape(root)}(?![\w.-])(?:/[^\s'\"(),;:]*)?", HIDDEN, text)
    # Also any other path, such as that of a library, whose first folder exists on this machine.
    return _PATH.sub(lambda match: HIDDEN if os.path.isdir(f"/{match[1]}") else match[0], text)
