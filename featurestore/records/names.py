"""The name of a view or service that a caller passes as a name or as a definition object."""

from collections.abc import Sequence
from typing import Any

from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.errors import RequestError, brief
from featurestore.values.arguments import check_text


def service_name(service: Any) -> str:
    """The name of a service. Raises: RequestError unless it is a name or a FeatureService."""
    return _name(service, FeatureService, "service")


def view_name(view: Any) -> str:
    """The name of a view. Raises: RequestError unless it is a name or a FeatureView."""
    return _name(view, FeatureView, "view")


def source_name(source: Any) -> str:
    """The name of a source. Raises: RequestError unless it is a name or a Source."""
    return _name(source, Source, "source")


def view_names(views: Any) -> list[str] | None:
    """The names of one or several views; None, which means all views, stays None. Raises: as `view_name`."""
    if views is None:
        return None
    several = isinstance(views, Sequence) and not isinstance(views, str | bytes)
    return [_name(view, FeatureView, "view", "names: ") for view in (views if several else [views])]


def _name(value: Any, definition: type[FeatureService] | type[FeatureView] | type[Source], what: str, where: str = "") -> str:
    if isinstance(value, definition):
        return value.name
    if isinstance(value, str):
        return check_text(value, f"{where}{what}")
    raise RequestError(f"{where}{what} must be a name or a {definition.__name__}, not {brief(value)}", field=what)
