"""What a caller may give as `progress=`: a function to be told, True for a bar on stderr, and nothing for silence."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from featurestore.pipelines.materialization.materialize import Report as ViewReport
from featurestore.pipelines.training_sets.progress import Report

OfTrainingSet: TypeAlias = Report | bool | None
OfMaterialization: TypeAlias = ViewReport | bool | None


def of_training_set(given: OfTrainingSet) -> AbstractContextManager[Report | None]:
    """Whom to tell, while the block lasts."""
    if not isinstance(given, bool):
        return nullcontext(given)
    if not given:
        return nullcontext()
    # Here and not above: rich takes a while to import, and most callers want no bar.
    from featurestore import bars  # noqa: PLC0415

    return bars.training_set()


def of_materialization(given: OfMaterialization) -> AbstractContextManager[ViewReport | None]:
    """Whom to tell, while the block lasts."""
    if not isinstance(given, bool):
        return nullcontext(given)
    if not given:
        return nullcontext()
    # As above.
    from featurestore import bars  # noqa: PLC0415

    return bars.materialization()
