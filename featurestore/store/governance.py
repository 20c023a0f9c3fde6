"""The methods of a store about models in use: the chain behind them, and their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from featurestore import verbs
from featurestore.backend import is_model_uri
from featurestore.store.connections import Connections
from featurestore.store.recorded import recorded
from featurestore.values import times
from featurestore.values.arguments import check_flag, check_name, check_row

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.audit_result import Audit
    from featurestore.pipelines.lineage.replay_result import Replay
    from featurestore.pipelines.lineage.traffic_comparison import TrafficComparison
    from featurestore.pipelines.lineage.traffic_result import Traffic
    from featurestore.pipelines.maintenance.retention import RetainedSnapshot
    from featurestore.store.feature_store import FeatureStore


class Governance(Connections):
    """Audits of models, for which MLflow is imported, and what keeps which snapshot alive."""

    def explain_retention(self) -> list[RetainedSnapshot]:
        """Every snapshot of every table of the store, oldest first, with what keeps it alive: training sets, the models trained on them
        with their aliases, logged predictions, the online store. `maintain` expires only snapshots that nothing keeps.
        """
        return verbs.explain_retention(self._runtime)

    def replay(self, request_id: str, row: int | None = None, model: str | None = None, at: datetime | str | None = None) -> Replay:
        """Compute a logged prediction again, from the snapshots and the time that its row names, and compare it with the log bit for bit.

        `row` is the number of the record in its request; None: the first. Clients may use a request id again: of requests that are the
        same, the newest is replayed, and of those that differ the one of `model` and `at`, the `predicted_at` or `as_of` of its rows. `why`
        of the result says what differs, and why. Raises: NotFound for an unknown request id or row; Conflict listing requests that differ.
        """
        # As in `audit`.
        from featurestore.models.audits.replay import replay_prediction  # noqa: PLC0415

        return replay_prediction(
            cast("FeatureStore", self),
            check_name(request_id, "request_id"),
            check_row(row),
            None if model is None else check_name(model, "model"),
            None if at is None else times.parse(at, "at"),
        )

    def traffic(self, name: str) -> Traffic:
        """How the requests to a registered model are split among aliases, with all periods before.

        Raises: NotFound with the nearest names.
        """
        return verbs.find_traffic(self._runtime, check_name(name, "name"))

    @recorded
    def set_traffic(
        self,
        name: str,
        weights: Mapping[str, float],
        shadow: str | Sequence[str] = (),
        *,
        approver: str | None = None,
        reason: str | None = None,
    ) -> Traffic:
        """Split the requests to a registered model that name neither version nor alias: {"champion": 90, "challenger": 10} in percent.

        Each record goes to one alias by a stable hash of its entity keys. Versions with an alias in `shadow` are also scored,
        and logged, but never returned. All servers follow within a second, without a restart. No weights remove the split. Who (default:
        the user), when and why is recorded in `registry.traffic`.

        Raises: RequestError; NotFound for an unknown model or alias; CommitConflict, with nothing changed, if another change came first.
        """
        # As in `audit`.
        from featurestore.models.traffic.traffic import set_traffic  # noqa: PLC0415

        who = self._runtime.author or None if approver is None else approver
        return set_traffic(self._runtime, name, weights, shadow, who, reason)

    def compare_traffic(
        self,
        name: str,
        since: datetime | str | None = None,
        labels: Any = None,
        label: str | None = None,
        timestamp: str | None = None,
    ) -> TrafficComparison:
        """Compare the logged predictions of a model by alias, version and role: counts, distributions, and with `labels` metrics, each with
        a 95 % confidence interval. At most a million predictions, `since` a time.

        `labels` are rows in any form of a spine, with the column `label`. They are matched by a column `request_id` if they have one, else
        by the entity keys: a prediction gets the first label at or after it by `timestamp`, or without that the only label of its keys.
        Raises: NotFound; RequestError naming a column.
        """
        # As in `audit`.
        from featurestore.models.traffic.traffic_comparison import compare_traffic  # noqa: PLC0415

        return compare_traffic(cast("FeatureStore", self), name, since, labels, label, timestamp)

    def audit(self, uri: str, deep: bool = False) -> Audit:
        """The chain behind a model, from raw tables to its logged predictions: every link is verified, and `broken` names those that are
        not as they were.

        `uri` is a model URI; `deep` computes the training set again. Raises: NotFound; RequestError for a model without a stamp.
        """
        is_model_uri(self._runtime, uri, "uri")
        # mlflow takes a second to import and may not be installed.
        from featurestore.models.audits.audit import audit_model  # noqa: PLC0415

        return audit_model(self._runtime, uri, check_flag(deep, "deep"))
