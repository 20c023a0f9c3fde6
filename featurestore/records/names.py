"""What a caller means by a view or a service: its name, or the object that defines it."""

from collections.abc import Sequence
from typing import Any

from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView
from featurestore.errors import RequestError, brief
from featurestore.values.arguments import check_text


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
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    return [_name(one, FeatureView, "view", "names: ") for one in (given if several else [given])]


def _name(given: Any, definition: type[FeatureService] | type[FeatureView], what: str, where: str = "") -> str:
    if isinstance(given, definition):
        return given.name
    if isinstance(given, str):
        return check_text(given, f"{where}{what}")
    raise RequestError(f"{where}{what} must be a name or a {definition.__name__}, not {brief(given)}", field=what)
