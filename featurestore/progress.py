"""What a caller may give as `progress=`: a function to be told, True for a bar on stderr, and nothing for silence."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from featurestore.errors import RequestError, brief

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import Report as ViewReport
    from featurestore.pipelines.training_sets.progress import OnBuildProgress

Callee = TypeVar("Callee", bound=Callable[..., Any])
OfTrainingSet: TypeAlias = "OnBuildProgress | bool | None"
OfMaterialization: TypeAlias = "ViewReport | bool | None"


def of_training_set(given: OfTrainingSet) -> "AbstractContextManager[OnBuildProgress | None]":
    """Whom to tell, while the block lasts."""
    if not isinstance(given, bool):
        return nullcontext(_told(given))
    if not given:
        return nullcontext()
    # Here and not above: rich takes a while to import, and most callers want no bar.
    from featurestore import bars  # noqa: PLC0415

    return bars.training_set()


def of_materialization(given: OfMaterialization) -> "AbstractContextManager[ViewReport | None]":
    """Whom to tell, while the block lasts."""
    if not isinstance(given, bool):
        return nullcontext(_told(given))
    if not given:
        return nullcontext()
    # As above.
    from featurestore import bars  # noqa: PLC0415

    return bars.materialization()


def _told(given: Callee | None) -> Callee | None:
    if given is not None and not callable(given):
        raise RequestError(f"progress={brief(given)} is neither True nor a function to be told", field="progress")
    return given
