"""The models that share the traffic of a registered model: for each alias of its split, what is behind it now."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from featurestore.errors import NotFound, NotReady
from featurestore.masking import logger_of
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.models.serving.loaded_models import LoadedModels
from featurestore.records.traffic_split import TrafficSplit

logger = logger_of(__name__)


class ArmModel(NamedTuple):
    """The alias that answers, and the model behind it."""

    alias: str
    model: LoadedModel


class Removed(NamedTuple):
    """Aliases of a model's split that MLflow has no more, and the alias that answers in their place; None: requests fail."""

    model: str
    aliases: tuple[str, ...]
    substitute: str | None

    def __str__(self) -> str:
        answers = "requests fail" if self.substitute is None else f"{self.substitute} answers in place"
        return f"{self.model}: the traffic names {' and '.join(self.aliases)}, which MLflow has no more, {answers}"


def removed_aliases(loaded: LoadedModels, splits: Iterable[TrafficSplit]) -> list[Removed]:
    """The aliases of splits that MLflow has no more, as it said last; it is not asked."""
    removed = []
    for split in splits:
        known = loaded.known(split.model, ask=False)
        gone = [] if known is None else [alias for alias in split.answering if alias not in known.aliases]
        if gone:
            removed.append(Removed(split.model, tuple(gone), split.substitute(gone)))
    return removed


class Arms:
    """Finds the models of splits.

    An alias that was removed since its split was set gets no records: they go to the alias with the most. That is logged once. All models
    of a request are those of one answer of MLflow: an alias that is removed while others are loaded answers with the version that it had.
    """

    def __init__(self, loaded: LoadedModels) -> None:
        self._loaded = loaded
        self._reported: set[tuple[str, str]] = set()

    def find(self, split: TrafficSplit, load: bool) -> Mapping[str, ArmModel] | None:
        """By alias of the split, what answers its records. Without `load`, None unless all of it is in memory.

        Raises: NotReady if none of the aliases exists any more; as `LoadedModels.get`.
        """
        try:
            return self._find(split, load)
        except NotFound:
            # A version was deleted after MLflow's last answer, and its aliases with it.
            self._loaded.expire(split.model)
            return self._find(split, load)

    def _find(self, split: TrafficSplit, load: bool) -> Mapping[str, ArmModel] | None:
        known = self._loaded.known(split.model, ask=load)
        if known is None:
            return None
        gone = [alias for alias in split.answering if alias not in known.aliases]
        substitute = self._substitute(split, gone)
        arms: dict[str, ArmModel] = {}
        for alias in split.answering:
            used = substitute if alias in gone else alias
            model = self._loaded.get_known(known, used) if load else self._loaded.find_known(known, used)
            if model is None:
                return None
            arms[alias] = ArmModel(used, model)
        return arms

    def shadows(self, split: TrafficSplit) -> list[ArmModel]:
        """The models that are also scored, but never returned, loaded if they are not in memory. Those without an alias are left out.

        Raises: as `LoadedModels.get`.
        """
        known = self._loaded.known(split.model)
        return [ArmModel(alias, self._loaded.get_known(known, alias)) for alias in split.shadow if alias in known.aliases]

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
