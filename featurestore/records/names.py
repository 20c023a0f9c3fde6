"""What a caller means by a view or a service: its name, or the object that defines it."""

from collections.abc import Sequence
from typing import Any

from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView
from featurestore.errors import RequestError


def service_name(given: Any) -> str:
    """The name of a service. Raises: RequestError for what is neither a name nor a FeatureService."""
    return _name(given, FeatureService, "service")


def view_name(given: Any) -> str:
    """The name of a view. Raises: RequestError for what is neither a name nor a FeatureView."""
    return _name(given, FeatureView, "view")


def view_names(given: Any) -> list[str] | None:
    """The names of one view or several; None for all, when None is given. Raises: as `view_name`."""
    if given is None:
        return None
    several = isinstance(given, Sequence) and not isinstance(given, str)
    return [view_name(one) for one in given] if several else [view_name(given)]


def _name(given: Any, definition: type[FeatureService] | type[FeatureView], what: str) -> str:
    if isinstance(given, definition):
        return given.name
    if isinstance(given, str):
        return given
    raise RequestError(f"{what} must be a name or a {definition.__name__}, not {type(given).__name__}", field=what)
