"""Set how the requests to a registered model are split among aliases, after a look at what is behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.promotions.promotion import ARCHIVED
from featurestore.models.registry import model_versions
from featurestore.models.registry.version_facts import VersionFacts, read_facts
from featurestore.pipelines.lineage.traffic import find_traffic, traffic_after
from featurestore.pipelines.lineage.traffic_result import Traffic
from featurestore.records.runtime import Runtime
from featurestore.records.traffic import TrafficChange, TrafficRecord
from featurestore.records.traffic_split import MOST_ALIASES, TrafficSplit, check_shadow, check_weights
from featurestore.values import times
from featurestore.values.arguments import check_name


def set_traffic(
    runtime: Runtime, model: str, weights: Any, shadow: Any = (), approver: str | None = None, reason: str | None = None
) -> Traffic:
    """Record a split of a model's requests, which every server then follows within a second; no weights remove it.

    A split that is in force already is not recorded again. Raises: RequestError; NotFound for an unknown model or alias; Conflict for
    versions that cannot share a split; CommitConflict, with nothing changed, if another change came first; NotReady.
    """
    name, places, beside = check_name(model, "name"), check_weights(weights), check_shadow(shadow)
    who = None if approver is None else check_name(approver, "approver")
    why = None if reason is None else check_name(reason, "reason")
    aliases = sorted({*places, *beside})
    if beside and not places:
        raise RequestError("shadow: without weights nothing answers requests; give weights such as {'champion': 100}", field="shadow")
    if len(aliases) > MOST_ALIASES:
        raise RequestError(f"the split names {len(aliases)} aliases, and may name {MOST_ALIASES}", field="weights")
    if not aliases:
        # Asks MLflow nothing: a split can be removed while that is down, and of a model that was deleted.
        find_traffic(runtime, name)
    record = TrafficRecord(runtime, name)
    split = _check_split(runtime, name, places, beside) if aliases else TrafficSplit(name, {}, (), (), {})
    if split != (record.current or TrafficSplit(name, {}, (), (), {})):
        at = times.moment(times.now())
        record.append(TrafficChange(split, who, why, at))
    return traffic_after(name, record.changes)


def _check_split(runtime: Runtime, name: str, places: Mapping[str, int], shadow: tuple[str, ...]) -> TrafficSplit:
    """The split, with what is behind its aliases. Raises: NotFound, RequestError, Conflict."""
    with limit_time(TRANSFER_SECONDS):
        tracking.use_tracking(runtime.settings)
        runtime.look_at_models()
        known = model_versions.registered_versions(name)
        versions = {}
        for alias in sorted({*places, *shadow}):
            if alias not in known.aliases:
                raise NotFound("alias", alias, known.aliases, f"model {name}")
            versions[alias] = known.aliases[alias]
        keys: dict[str, Mapping[str, str]] = {}
        for version in sorted(set(versions.values())):
            with read_facts(f"models:/{name}/{version}", runtime) as facts:
                _refuse_archived(facts)
                keys[version] = facts.stamp.plan.key_types
    answering = [keys[versions[alias]] for alias in places]
    return TrafficSplit(name, places, shadow, _common(name, answering), versions)


def _refuse_archived(facts: VersionFacts) -> None:
    if facts.stage == ARCHIVED:
        raise Conflict(f"version {facts.version} of model {facts.name} is archived; restore it first", version=facts.version)


def _common(name: str, key_types: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """The key columns that all versions have. Raises: Conflict if there are none, by which records could be assigned."""
    common = set.intersection(*(set(types.items()) for types in key_types))
    if not common and len(key_types) > 1:
        shown = "; ".join(sorted({", ".join(types) or "none" for types in key_types}))
        raise Conflict(f"the versions of model {name} have no entity key in common ({shown}), by which records could be split", model=name)
    return tuple(sorted(common))
