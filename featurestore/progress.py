"""The `progress=` argument: a callback, True for a progress bar on stderr, None or False for nothing."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from featurestore.errors import RequestError, brief

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import OnViewProgress
    from featurestore.pipelines.training_sets.progress import OnBuildProgress

CallbackT = TypeVar("CallbackT", bound=Callable[..., Any])
TrainingSetProgress: TypeAlias = "OnBuildProgress | bool | None"
MaterializationProgress: TypeAlias = "OnViewProgress | bool | None"


def training_set_reporter(progress: TrainingSetProgress) -> "AbstractContextManager[OnBuildProgress | None]":
    """A context with the callback for the progress of a training set; None to report nothing. Raises: RequestError."""
    if not isinstance(progress, bool):
        return nullcontext(_checked_callback(progress))
    if not progress:
        return nullcontext()
    # Imported here: rich is slow to import, and few callers want a progress bar.
    from featurestore import bars  # noqa: PLC0415

    return bars.training_set_bar()


def materialization_reporter(progress: MaterializationProgress) -> "AbstractContextManager[OnViewProgress | None]":
    """A context with the callback for the progress of a materialization; None to report nothing. Raises: RequestError."""
    if not isinstance(progress, bool):
        return nullcontext(_checked_callback(progress))
    if not progress:
        return nullcontext()
    # As above.
    from featurestore import bars  # noqa: PLC0415

    return bars.materialization_bars()


def _checked_callback(callback: CallbackT | None) -> CallbackT | None:
    if callback is not None and not callable(callback):
        raise RequestError(f"progress={brief(callback)} is neither a function nor True or False", field="progress")
    return callback
