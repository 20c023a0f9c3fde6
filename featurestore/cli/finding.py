"""What `doctor` found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was checked, its state, what was seen, and how to fix it; `todo` is empty if nothing needs fixing."""

    what: str
    state: Literal["ok", "note", "wrong"]
    seen: str
    todo: str = ""
