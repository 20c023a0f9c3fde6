"""All errors of the feature store; messages say what was wrong, where, and what to do.

```text
FeatureStoreError
├── DefinitionError      definition files or objects are wrong; carries every problem at once
├── RequestError         the request was wrong: a spine, a value, an option
│   ├── TypeMismatch     a value or column has a type that the definition does not allow
│   ├── ModelError       a model raised an error for the rows, or gave no prediction for each
│   ├── TooLarge         the request or its result exceeds the server's limits of rows or bytes
│   └── Unauthorized     the server knows nobody by the credentials of the request
├── Forbidden            whoever sent the request does not have the privilege that it needs
├── NotFound             a view, service, table, training set, model or column does not exist
├── Conflict             the request contradicts the current state
│   ├── CommitConflict   another writer committed to the same table first
│   ├── LeaseHeld        another process is working on the table, and the run did not wait for it any longer
│   ├── CheckFailed      the rows of a run fail a check of their view
│   └── DigestMismatch   a rebuilt training set differs from the recorded one
├── NotReady             the catalog or the online store cannot be reached, or a view is not materialized yet
│   ├── Busy             the server cannot take more requests of this kind at the moment
│   ├── CommitUnknown    the response to a commit was lost, and the catalog could not say whether it landed
│   └── Unsupported      the catalog cannot do what a commit asks for; nothing was written
├── Timeout              the work exceeded its time limit or was canceled; it was stopped and nothing was written
├── OutOfResources       memory or disk ran out; nothing was written
├── MaterializationFailed  several views could not be materialized; the others were
├── NotYet               a documented feature that is not implemented yet; says what to use instead
└── MissingExtra         an optional dependency is not installed; names the command that installs it
```
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.masking import scrub, scrub_all


class FeatureStoreError(Exception):
    """Base class of all errors of the feature store.

    `message` may be shown to any reader. `details` has JSON-ready facts for programs; its `reason` is a library's message, which str()
    adds and a server does not return. Secrets of the settings are removed from both, even if a library quoted them.
    """

    def __init__(self, message: str, **details: Any) -> None:
        self.message = scrub(message)
        super().__init__(self.message)
        self.details: dict[str, Any] = scrub_all(details)

    def __str__(self) -> str:
        return f"{self.message}: {self.details['reason']}" if self.details.get("reason") else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of other processes come back as they are: an error's own arguments are not those of its constructor."""
        return _restore, (type(self), self.__dict__)


def _restore(error_type: type[FeatureStoreError], state: dict[str, Any]) -> FeatureStoreError:
    """The error of another process, which may not know the secrets of this one."""
    error = error_type.__new__(error_type)
    error.__dict__.update(state)
    error.message, error.details = scrub(error.message), scrub_all(error.details)
    error.args = (error.message,)
    return error


@dataclass(frozen=True)
class Problem:
    """A problem in a definition; `file` and `line` are None for objects not loaded from a file."""

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
    """Definitions are wrong. `problems` has all problems, ordered by file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.file or "", p.line or 0, p.object, p.field))
        count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
        super().__init__(f"{count} in the definitions:\n" + "\n".join(f"  {problem}" for problem in ordered))
        self.problems = tuple(ordered)
        self.details = {"problems": [{**problem.__dict__} for problem in ordered]}


class RequestError(FeatureStoreError):
    """The request was wrong; the message names the field and says what is expected."""


class TypeMismatch(RequestError):
    """A value or column has a type that the definition does not allow."""


class ModelError(RequestError):
    """A model raised an error for the rows that it got, or did not give one prediction for each; its own words are in `reason`."""


class TooLarge(RequestError):
    """The request or its result exceeds the server's limits; the message names the limit and an alternative."""


class Unauthorized(RequestError):
    """The server knows nobody by the credentials of the request; the message says which credentials it takes."""


class Forbidden(FeatureStoreError):
    """Whoever sent the request does not have the privilege that it needs; the message names it, and not whether an object exists."""


class NotFound(FeatureStoreError):
    """Something named in the request does not exist; the message suggests the nearest existing names."""

    def __init__(self, kind: str, name: str, known: Iterable[str] | None = (), where: str = "") -> None:
        """`known` None: there are too many to name."""
        names = sorted(known or ())
        self.where = where
        nearest = "" if known is None else near(name, names)
        super().__init__(f"no {kind} {brief(name)}{f' in {where}' if where else ''}{nearest}", kind=kind, name=name, known=names)


class Conflict(FeatureStoreError):
    """The request contradicts the current state; nothing was changed."""


class CommitConflict(Conflict):
    """Another writer committed to the same table first; nothing of this write is visible, and it is safe to retry."""


class LeaseHeld(Conflict):
    """Another process is working on the table; nothing was done. `details` has the `table` and the `holder`: its host, its process, and
    since when.
    """


class CheckFailed(Conflict):
    """The rows of a run fail checks of their view; nothing was written. `details` has the view and each failed check."""


class DigestMismatch(Conflict):
    """A rebuilt training set differs from the recorded one; `details` names the columns that differ and the first rows."""


class NotReady(FeatureStoreError):
    """A required component cannot be reached or has no data yet; retrying later may work."""


class CommitUnknown(NotReady):
    """The response to a commit was lost, and it is unknown whether it landed; nothing was deleted, and it is safe to retry."""


class Unsupported(NotReady):
    """The catalog cannot do what a commit asks for; the message says what is lost without it. Nothing was written."""


class Busy(NotReady):
    """The server cannot take more requests of this kind at the moment; retrying later may work."""


class Timeout(FeatureStoreError):
    """The work exceeded its time limit or was canceled; it was stopped and nothing was written."""


class OutOfResources(FeatureStoreError):
    """Memory or disk ran out; nothing was written. For the disk, `details` has `resource` = "disk"."""


class MaterializationFailed(FeatureStoreError):
    """Several views could not be materialized; `details` has the `failures`, and the tables that were `materialized`."""


class NotYet(FeatureStoreError):
    """A documented feature that is not implemented yet; the message says what to use instead."""


NOT_INSTALLED = "not installed"
"""The status of a component whose extra is missing, where it is reported instead of raised."""


class MissingExtra(FeatureStoreError):
    """An optional dependency is not installed: one of our extras, or without `extra` a package that a user's model needs."""

    def __init__(self, package: str, extra: str | None = None, what: str = "this") -> None:
        requirement = package if extra is None else f"'featurestore[{extra}]'"
        super().__init__(
            f"{what} needs the package {package}, which is not installed here: pip install {requirement}", package=package, extra=extra
        )


def copy_error(error: FeatureStoreError) -> FeatureStoreError:
    """An error of its own with the same message and details, to which a caller may add; its cause is the error."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    made.details = dict(error.details)
    made.__cause__ = error
    return made


def message_of(error: BaseException) -> str:
    """The message of any exception; of one whose `__str__` fails, which a user's code may raise, that it has none."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - see above
        return "its message cannot be read"


_LONGEST_QUOTE = 300
"""Limit of characters of a quoted value: longer than names, but folder paths may exceed it."""
_QUOTES = reprlib.Repr()
_QUOTES.maxstring = _QUOTES.maxother = _LONGEST_QUOTE


def brief(value: object) -> str:
    """The repr of a value for a message, with its middle left out if it is long."""
    return _QUOTES.repr(value)


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known names, or else the first ten."""
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
