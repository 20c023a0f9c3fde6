"""Models that carry what they were trained on: logged to MLflow with a stamp, scored from entity keys alone.

MLflow is imported when a name is first used, not with this package. Raises: MissingExtra where it is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featurestore.errors import MissingExtra

if TYPE_CHECKING:
    from featurestore.models.promotions.promotion import archive, demote, promote, rollback
    from featurestore.models.registry.lineage import TrainedModel, set_alias, trained_on
    from featurestore.models.scoring.saved_scores import SavedPredictions
    from featurestore.models.scoring.scoring import score, score_batch
    from featurestore.models.serving.loaded_model import LoadedModel
    from featurestore.models.serving.loaded_models import LoadedModels
    from featurestore.models.stamping.attaching import attach
    from featurestore.models.stamping.model_logging import log_model
    from featurestore.models.stamps.stamped_manifest import StampedManifest, training_set
    from featurestore.pipelines.online_lookup.prediction import Prediction

__all__ = [
    "LoadedModel",
    "LoadedModels",
    "Prediction",
    "SavedPredictions",
    "StampedManifest",
    "TrainedModel",
    "archive",
    "attach",
    "demote",
    "log_model",
    "promote",
    "rollback",
    "score",
    "score_batch",
    "set_alias",
    "trained_on",
    "training_set",
]

_HOMES = {
    "LoadedModel": "serving.loaded_model",
    "LoadedModels": "serving.loaded_models",
    "Prediction": "serving.loaded_model",
    "SavedPredictions": "scoring.saved_scores",
    "StampedManifest": "stamps.stamped_manifest",
    "TrainedModel": "registry.lineage",
    "archive": "promotions.promotion",
    "attach": "stamping.attaching",
    "demote": "promotions.promotion",
    "log_model": "stamping.model_logging",
    "promote": "promotions.promotion",
    "rollback": "promotions.promotion",
    "score": "scoring.scoring",
    "score_batch": "scoring.scoring",
    "set_alias": "registry.lineage",
    "trained_on": "registry.lineage",
    "training_set": "stamps.stamped_manifest",
}


_EXTRA = ("mlflow", "pandas", "threadpoolctl")
"""The packages of the extra `mlflow` that these modules import."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        raise MissingExtra(error.name.partition(".")[0], "mlflow") from error
