"""The models that share the traffic of a registered model: for each alias of its split, what is behind it now."""

from collections.abc import Mapping
from typing import NamedTuple

from featurestore.errors import NotReady
from featurestore.masking import logger_of
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.models.serving.loaded_models import LoadedModels
from featurestore.records.traffic_split import TrafficSplit

logger = logger_of(__name__)


class ArmModel(NamedTuple):
    """The alias that answers, and the model behind it."""

    alias: str
    model: LoadedModel


class Arms:
    """Finds the models of splits.

    An alias that was removed since its split was set gets no records: they go to the alias with the most. That is logged once.
    """

    def __init__(self, loaded: LoadedModels) -> None:
        self._loaded = loaded
        self._reported: set[tuple[str, str]] = set()

    def find(self, split: TrafficSplit, load: bool) -> Mapping[str, ArmModel] | None:
        """By alias of the split, what answers its records. Without `load`, None unless all of it is in memory.

        Raises: NotReady if none of the aliases exists any more; as `LoadedModels.get`.
        """
        known = self._loaded.aliases(split.model, ask=load)
        if known is None:
            return None
        gone = [alias for alias in split.answering if alias not in known]
        substitute = self._substitute(split, gone)
        found: dict[str, ArmModel] = {}
        for alias in split.answering:
            used = substitute if alias in gone else alias
            model = self._loaded.get(split.model, alias=used) if load else self._loaded.find_loaded(split.model, alias=used)
            if model is None:
                return None
            found[alias] = ArmModel(used, model)
        return found

    def shadows(self, split: TrafficSplit) -> list[ArmModel]:
        """The models that are also scored, but never returned, loaded if they are not in memory. Those without an alias are left out.

        Raises: as `LoadedModels.get`.
        """
        known = self._loaded.aliases(split.model) or {}
        return [ArmModel(alias, self._loaded.get(split.model, alias=alias)) for alias in split.shadow if alias in known]

    def _substitute(self, split: TrafficSplit, gone: list[str]) -> str:
        substitute = split.substitute(gone)
        if substitute is None:
            raise NotReady(
                f"the traffic of model {split.model} goes to {' and '.join(split.answering)}, and MLflow has no such alias any more: give"
                f" versions that alias, or set a new split with featurestore traffic {split.model}",
                model=split.model,
            )
        for alias in gone:
            if (split.model, alias) not in self._reported:
                self._reported.add((split.model, alias))
                logger.warning("the alias %s of model %s was removed; its share of the traffic goes to %s", alias, split.model, substitute)
        return substitute
