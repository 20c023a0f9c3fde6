"""Mask paths of the server's machine in error responses: callers do not need them, and attackers may."""

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

# The folders of every store that this process serves; they do not change.
_roots: set[str] = set()


def hide_paths_of(settings: Settings) -> None:
    """From now on, mask all folders that these settings name."""
    warehouse = settings.catalog_properties().get("warehouse", "")
    online = settings.online_url()
    folders = [
        *(str(path) for path in (settings.home_path(), settings.spill_path(), *settings.source_folders)),
        unquote(urlsplit(warehouse).path) if warehouse.startswith("file:") else warehouse,
        online.removeprefix("lmdb://") if online.startswith("lmdb:") else "",
        *(os.getcwd(), str(Path.home()), tempfile.gettempdir(), sys.prefix, sys.base_prefix),
    ]
    for path in folders:
        for form in {path, os.path.realpath(path)} if path.startswith("/") else ():
            if len(Path(form).parts) > 1:
                _roots.add(form.rstrip("/"))


def without_paths(value: Any) -> Any:
    """A copy of a JSON-like value, with paths of the server masked in its texts."""
    if isinstance(value, str):
        return _mask(value)
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    return [without_paths(inner) for inner in value] if isinstance(value, list | tuple) else value


def _mask(text: str) -> str:
    for root in sorted(_roots, key=len, reverse=True):
        if root in text:
            text = re.sub(rf"(?:file://)?{re.escape(root)}(?![\w.-])(?:/[^\s'\"(),;:]*)?", HIDDEN, text)
    # Any other path, such as that of a library, if its first folder exists on this machine.
    return _PATH.sub(lambda match: HIDDEN if os.path.isdir(f"/{match[1]}") else match[0], text)
