"""The methods of a server about models in use, as exchanges: lineage, promotions, audits, replays and retention."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from typing import Any
from urllib.parse import quote

from featurestore.client.arguments import time_text
from featurestore.client.calls import Calls
from featurestore.client.json_rows import encode_body
from featurestore.client.steps import Exchange, get, post, put
from featurestore.errors import RequestError, brief
from featurestore.pipelines.lineage.audit_result import AliasChange, Audit
from featurestore.pipelines.lineage.impact_result import Impact
from featurestore.pipelines.lineage.lineage_result import ColumnLineage
from featurestore.pipelines.lineage.replay_result import Replay
from featurestore.pipelines.lineage.traffic_comparison import TrafficComparison
from featurestore.pipelines.lineage.traffic_result import Traffic
from featurestore.pipelines.maintenance.retention import RetainedSnapshot
from featurestore.records.traffic_split import PLACES, check_shadow, check_weights
from featurestore.values import frames, times
from featurestore.values.arguments import Direction, check_direction, check_flag, check_name, check_row, check_text, check_version, naming


class Governance:
    """The methods of `ServerVerbs` besides those that compute and look up; `FeatureStore` documents them."""

    _calls: Calls

    def impact(self, table: str, column: str | None = None) -> Exchange[Impact]:
        """What depends on a table or one of its columns."""
        named = {} if column is None else {"column": check_name(column, "column")}
        return self._calls.get_result(Impact, "/v1/impact", table=check_name(table, "table"), **named)

    def lineage(self, name: str, direction: Direction = "both") -> Exchange[ColumnLineage]:
        """What a column, a feature, a training set or a model is computed from, and what is computed from it."""
        return self._calls.get_result(ColumnLineage, "/v1/lineage", name=check_name(name, "name"), direction=check_direction(direction))

    def explain_retention(self) -> Exchange[list[RetainedSnapshot]]:
        """Every snapshot of every table of the store, with what keeps it alive."""
        return self._calls.get_results(RetainedSnapshot, "/v1/retention")

    def replay(
        self, request_id: str, row: int | None = None, model: str | None = None, at: datetime | str | None = None
    ) -> Exchange[Replay]:
        """Compute a logged prediction again on the server, and compare it with the log."""
        # A time is read here: an address cannot hold a text of any length.
        moment = None if at is None else times.text(times.parse(at, "at"))
        named = {"row": check_row(row), "model": _optional(model, "model"), "at": moment}
        selected: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        path = f"/v1/predictions/{_part(request_id, 'request_id')}/replay"
        return self._calls.read_result(Replay, get(path, unlimited=True, **selected))

    def audit(self, uri: str, deep: bool = False) -> Exchange[Audit]:
        """The chain behind a registered model, from raw tables to predictions, with every link verified."""
        name, selected = _split_registered_uri(check_text(uri, "uri"))
        path = f"/v1/models/{_part(name, 'uri')}/audit"
        return self._calls.read_result(Audit, get(path, unlimited=True, **selected, deep=check_flag(deep, "deep")))

    def traffic(self, name: str) -> Exchange[Traffic]:
        """How the requests to a registered model are split among aliases, with all periods before."""
        return self._calls.get_result(Traffic, f"/v1/models/{_part(name, 'name')}/traffic")

    def set_traffic(
        self,
        name: str,
        weights: Mapping[str, float],
        shadow: str | Sequence[str] = (),
        *,
        approver: str | None = None,
        reason: str | None = None,
    ) -> Exchange[Traffic]:
        """Split the requests to a registered model among aliases; without `approver`, the server records whose key it is."""
        places, beside = check_weights(weights), check_shadow(shadow)
        who = None if approver is None else check_name(approver, "approver")
        body = {
            "weights": {alias: count * 100 / PLACES for alias, count in places.items()},
            "shadow": list(beside),
            "approver": who,
            "reason": _optional(reason, "reason"),
        }
        return self._calls.read_result(Traffic, put(f"/v1/models/{_part(name, 'name')}/traffic", body))

    def compare_traffic(
        self,
        name: str,
        since: datetime | str | None = None,
        labels: Any = None,
        label: str | None = None,
        timestamp: str | None = None,
    ) -> Exchange[TrafficComparison]:
        """Compare the logged predictions of a model; `labels` are a table or SQL of the server, or rows that are sent."""
        body = {
            "since": time_text(since, "since"),
            "labels": None if labels is None else _label_source(labels),
            "label": _optional(label, "label"),
            "timestamp": _optional(timestamp, "timestamp"),
        }
        path, headers = f"/v1/models/{_part(name, 'name')}/traffic-comparisons", {"Content-Type": "application/json"}
        request = post(path, content=encode_body(body), headers=headers, safe=True, unlimited=True)
        return self._calls.read_result(TrafficComparison, request)

    def promote(
        self,
        name: str,
        version: int | str,
        alias: str = "champion",
        *,
        approver: str,
        require: str | None = None,
        reason: str | None = None,
        deep: bool = False,
    ) -> Exchange[AliasChange]:
        """Give an alias to a version of a model, if it is verified, as `models.promote`."""
        body = {"version": str(check_version(version)), "require": _optional(require, "require"), "deep": check_flag(deep, "deep")}
        return self._change(name, "promotions", alias, approver, reason, body)

    def demote(self, name: str, alias: str = "champion", *, approver: str, reason: str | None = None) -> Exchange[AliasChange]:
        """Remove an alias of a model, as `models.demote`."""
        return self._change(name, "demotions", alias, approver, reason, {})

    def rollback(self, name: str, alias: str = "champion", *, approver: str, reason: str | None = None) -> Exchange[AliasChange]:
        """Give an alias back to the version that had it before, as `models.rollback`."""
        return self._change(name, "rollbacks", alias, approver, reason, {})

    def archive(
        self, name: str, version: int | str, *, approver: str, reason: str | None = None, restore: bool = False
    ) -> Exchange[AliasChange]:
        """Mark a version of a model as not to be promoted, or restore it, as `models.archive`."""
        body = {"version": str(check_version(version)), "restore": check_flag(restore, "restore")}
        return self._change(name, "archivings", None, approver, reason, body)

    def _change(
        self, name: str, what: str, alias: str | None, approver: str, reason: str | None, body: dict[str, Any]
    ) -> Exchange[AliasChange]:
        named = {} if alias is None else {"alias": check_name(alias, "alias")}
        decided = {"approver": check_name(approver, "approver"), "reason": _optional(reason, "reason")}
        path = f"/v1/models/{_part(name, 'name')}/{what}"
        return self._calls.read_result(AliasChange, post(path, {**body, **named, **decided}, unlimited=True))


def _label_source(labels: Any) -> dict[str, Any]:
    """Labels as a server takes them. Raises: RequestError for what it cannot read."""
    if isinstance(labels, str) and frames.is_query(labels):
        return {"sql": labels}
    if isinstance(labels, str) and labels.startswith("iceberg:"):
        return {"table": labels.removeprefix("iceberg:")}
    with naming("labels"):
        rows = None if isinstance(labels, str | PathLike) else frames.to_arrow_table(labels)
    if rows is None:
        raise RequestError(f"labels={brief(labels)}: give 'iceberg:namespace.table', a SELECT, or a frame or list of rows", field="labels")
    return {"rows": rows.to_pylist()}


def _optional(value: str | None, argument: str) -> str | None:
    return None if value is None else check_name(value, argument)


def _part(name: str, argument: str) -> str:
    return quote(check_name(name, argument), safe="")


def _split_registered_uri(uri: str) -> tuple[str, dict[str, Any]]:
    """The name in a model URI, and what selects the version. Raises: RequestError for a model that is not registered."""
    address = uri.removeprefix("models:/")
    if uri.startswith("models:/") and "@" in address:
        name, _, alias = address.rpartition("@")
        return name, {"alias": alias}
    name, _, version = address.rpartition("/")
    if not uri.startswith("models:/") or not name:
        raise RequestError(f"uri={brief(uri)}: a server audits registered models; write models:/name/1 or models:/name@alias", field="uri")
    return name, {"version": version}
