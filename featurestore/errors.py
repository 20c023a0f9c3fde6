"""Every error a user can meet, with what was wrong, where, and what to do.

```text
FeatureStoreError
├── DefinitionError      definition files or objects are wrong; carries every problem at once
├── RequestError         the request was wrong: a spine, a value, an option
│   ├── TypeMismatch     a value or column has a type that the definition does not allow
│   └── TooLarge         what was asked for has more rows or bytes than a server gives at once
├── NotFound             a view, service, table, training set, model or column that does not exist
├── Conflict             what was asked for contradicts what is there
│   ├── CommitConflict   another writer committed to the same table first
│   ├── CheckFailed      the rows of a run fail a check of their view
│   └── DigestMismatch   a rebuilt training set differs from the recorded one
├── NotReady             the catalog or the online store cannot be reached, or a view is not materialized yet
│   ├── Busy             the server has no room for more such requests at the moment
│   └── CommitUnknown    the answer to a commit was lost, and the catalog could not be asked whether it landed
├── Timeout              the work took longer than it may, or nobody waits for it; it was stopped and nothing was written
├── OutOfResources       memory or disk ran out; nothing was written
├── MaterializationFailed  several views could not be brought up to date; the others were
├── NotYet               a documented name whose strength is still to come; says what to use instead
└── MissingExtra         an optional dependency is not installed; names the command that installs it
```
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.secrets import scrubbed, scrubbed_all


class FeatureStoreError(Exception):
    """The root: catch it to catch all of ours.

    `message` is fit for any reader. `details` holds JSON-ready facts for programs; a `reason` among them is a library's
    own words, which str() adds and a server keeps to itself. Neither holds a secret of the settings, whatever a library quoted.
    """

    def __init__(self, message: str, **details: Any) -> None:
        self.message = scrubbed(message)
        super().__init__(self.message)
        self.details: dict[str, Any] = scrubbed_all(details)

    def __str__(self) -> str:
        return f"{self.message}: {self.details['reason']}" if self.details.get("reason") else self.message


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a definition: `file` and `line` are None for objects that came from no file."""

    message: str
    object: str = ""
    field: str = ""
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        what = ", ".join(part for part in (self.object, self.field) if part)
        return f"{place}{what}: {self.message}" if what else f"{place}{self.message}"


class DefinitionError(FeatureStoreError):
    """Definitions are wrong. `problems` holds all of them, in file and line order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.file or "", p.line or 0, p.object, p.field))
        count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
        super().__init__(f"{count} in the definitions:\n" + "\n".join(f"  {problem}" for problem in ordered))
        self.problems = tuple(ordered)
        self.details = {"problems": [{**problem.__dict__} for problem in ordered]}


class RequestError(FeatureStoreError):
    """The request was wrong; the message names the field and what would be right."""


class TypeMismatch(RequestError):
    """A value or column has a type that the definition does not allow."""


class TooLarge(RequestError):
    """What was asked for has more rows or bytes than a server gives at once; the message names the limit and another way."""


class NotFound(FeatureStoreError):
    """Something named in the request does not exist; the message offers the nearest names that do."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), where: str = "") -> None:
        names = sorted(known)
        super().__init__(f"no {kind} {brief(name)}{f' in {where}' if where else ''}{near(name, names)}", kind=kind, name=name, known=names)


class Conflict(FeatureStoreError):
    """What was asked for contradicts what is there; nothing was changed."""


class CommitConflict(Conflict):
    """Another writer committed to the same table first; nothing of this write is visible, trying again is safe."""


class CheckFailed(Conflict):
    """The rows of a run fail checks of their view; nothing was written. `details` holds the view and each failed check."""


class DigestMismatch(Conflict):
    """A rebuilt training set differs from the recorded one; `details` names the columns that differ and the first rows."""


class NotReady(FeatureStoreError):
    """A part that is needed cannot be reached or has no data yet; trying again later may work."""


class CommitUnknown(NotReady):
    """The answer to a commit was lost, and whether it landed is not known; nothing was deleted, running the same again is safe."""


class Busy(NotReady):
    """The server has no room for more such requests at the moment; trying again later may work."""


class Timeout(FeatureStoreError):
    """The work took longer than it may, or nobody waits for it any more; it was stopped and nothing was written."""


class OutOfResources(FeatureStoreError):
    """Memory or disk ran out; nothing was written. Where it was the disk, `details` says so as its `resource`."""


class MaterializationFailed(FeatureStoreError):
    """Several views could not be brought up to date; `details` names each `failures` entry, and the tables that were `materialized`."""


class NotYet(FeatureStoreError):
    """A documented name whose strength is still to come; the message says what to use instead."""


NOT_INSTALLED = "not installed"
"""How a part is whose extra is missing, where that is told and no error."""


class MissingExtra(FeatureStoreError):
    """An optional dependency is not installed: one of an extra of ours, or without `extra` one that a user's model needs."""

    def __init__(self, package: str, extra: str | None = None, what: str = "this") -> None:
        wanted = package if extra is None else f"'featurestore[{extra}]'"
        super().__init__(
            f"{what} needs the package {package}, which is not installed here: pip install {wanted}", package=package, extra=extra
        )


_LONGEST_QUOTE = 300
"""No name of anything is that long, but the path of a folder may be."""
_QUOTES = reprlib.Repr()
_QUOTES.maxstring = _QUOTES.maxother = _LONGEST_QUOTE


def brief(value: object) -> str:
    """A value as a message quotes it: as Python writes it, with its middle left out where it is long."""
    return _QUOTES.repr(value)


def near(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known ones, or all when there are few."""
    name, names = name[:_LONGEST_QUOTE], sorted(set(known))
    close = (
        difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        or [
            other
            for other in names
            if other.lower() == name.lower() or (len(name) > 2 and (other.startswith(name) or name.startswith(other)))
        ][:3]
    )
    if close:
        return f"; did you mean {' or '.join(brief(other) for other in close)}?"
    if not names:
        return "; there are none"
    listed = ", ".join(brief(other) for other in names[:10])
    return f"; known: {listed}{', ...' if len(names) > 10 else ''}"
