"""The methods of a store about models in use: the chain behind them, and their predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from featurestore import verbs
from featurestore.backend import is_model_uri
from featurestore.store.connections import Connections
from featurestore.values.arguments import check_flag, check_name

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.audit_result import Audit
    from featurestore.pipelines.lineage.replay_result import Replay
    from featurestore.pipelines.maintenance.retention import RetainedSnapshot
    from featurestore.store.feature_store import FeatureStore


class Governance(Connections):
    """Audits of models, for which MLflow is imported, and what keeps which snapshot alive."""

    def explain_retention(self) -> list[RetainedSnapshot]:
        """Every snapshot of every table of the store, oldest first, with what keeps it alive: training sets, the models trained on them
        with their aliases, logged predictions, the online store. `maintain` expires only snapshots that nothing keeps.
        """
        return verbs.explain_retention(self._runtime)

    def replay(self, request_id: str) -> Replay:
        """Compute a logged prediction again, from the snapshots and the time that its row names, and compare it with the log bit for bit.

        `why` of the result says what differs, and why. Raises: NotFound for an unknown request id.
        """
        # As in `audit`.
        from featurestore.models.replay import replay_prediction  # noqa: PLC0415

        return replay_prediction(cast("FeatureStore", self), check_name(request_id, "request_id"))

    def audit(self, uri: str, deep: bool = False) -> Audit:
        """The chain behind a model, from raw tables to its logged predictions: every link is verified, and `broken` names those that are
        not as they were.

        `uri` is a model URI; `deep` computes the training set again. Raises: NotFound; RequestError for a model without a stamp.
        """
        is_model_uri(self._runtime, uri, "uri")
        # mlflow takes a second to import and may not be installed.
        from featurestore.models.audit import audit_model  # noqa: PLC0415

        return audit_model(self._runtime, uri, check_flag(deep, "deep"))
