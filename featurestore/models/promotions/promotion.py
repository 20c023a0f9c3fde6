"""Move aliases of registered models: checked against the stamp and the metrics, recorded with who and why, then set in MLflow."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from featurestore.errors import Conflict, RequestError
from featurestore.models.audits.audit import stamp_links
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.mlflow_client import check_new_alias, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.promotions.requirement import OWN, Requirement, parse_requirement
from featurestore.models.registry import model_versions
from featurestore.models.registry.version_facts import VersionFacts, metrics_of, read_facts
from featurestore.models.stamps.recorded_changes import recorded_change
from featurestore.models.stamps.store_access import check_store, runtime_of
from featurestore.pipelines.lineage.audit_result import AliasChange
from featurestore.records.alias_changes import AliasRecord, stage_subject
from featurestore.records.model_events import Event
from featurestore.records.runtime import Runtime
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.arguments import check_flag, check_name, check_version

ARCHIVED = "Archived"
"""MLflow's stage of versions that are not to be used any more."""


@recorded_change
def promote(
    name: str,
    version: int | str,
    alias: str = "champion",
    *,
    approver: str,
    require: str | None = None,
    reason: str | None = None,
    deep: bool = False,
    store: FeatureStore | None = None,
) -> AliasChange:
    """Set an alias of a registered model to a version, if the version's stamp is verified and its metrics are as required.

    The stamp, the files of the model, the training set and the pinned snapshots are verified; with `deep`, the training set is computed
    again. `require` compares metrics of the version, of the holders of aliases, and numbers: "auc > champion.auc + 0.005". Who, when and
    why is recorded in `registry.models` before the alias is set. A version that has the alias already is checked all the same, where
    `require` names the alias against the version that had it before; then nothing is recorded.
    Raises: NotFound; RequestError for a model without a stamp or an unreadable requirement; Conflict, with nothing changed, naming all
    that is missing; CommitConflict if another change of the alias came first.
    """
    requirement = None if require is None else parse_requirement(check_name(require, "require"))
    change = _Change("promote", name, alias, approver, reason, require)
    check_new_alias(alias)
    with _open_runtime(store) as runtime:
        record = AliasRecord(runtime, name, alias)
        number = str(check_version(version))
        with read_facts(f"models:/{name}/{number}", runtime) as facts:
            before = _holder(name, alias)
            _refuse_archived(facts)
            problems, verified = _problems(runtime, facts, check_flag(deep, "deep"))
            # A promotion that is repeated compares what the first one compared.
            replaced = _previous(record.events, number) if before == number else before
            used, unmet = _check_requirement(requirement, facts, {alias: replaced})
            if problems or unmet:
                already = ", which it has already" if before == number else ""
                raise Conflict(
                    f"version {number} of model {name} was not promoted to '{alias}'{already}: {'; '.join([*problems, *unmet])}",
                    model=name,
                    version=number,
                    problems=[*problems, *unmet],
                )
            if before != number:
                _make(record, change, _event(facts, change, before, used), before)
    return change.result(number, before, used=used, verified=tuple(verified), changed=before != number)


@recorded_change
def demote(
    name: str, alias: str = "champion", *, approver: str, reason: str | None = None, store: FeatureStore | None = None
) -> AliasChange:
    """Remove an alias of a registered model, and record who did it and why. Raises: NotFound if there is no such alias; CommitConflict."""
    change = _Change("demote", name, alias, approver, reason)
    with _open_runtime(store) as runtime:
        record = AliasRecord(runtime, name, alias)
        before = model_versions.resolve_version(name, alias=alias)
        with read_facts(f"models:/{name}/{before}", runtime) as facts:
            _make(record, change, _event(facts, change, before, {}, removed=True), before)
    return change.result(None, before)


@recorded_change
def rollback(
    name: str, alias: str = "champion", *, approver: str, reason: str | None = None, store: FeatureStore | None = None
) -> AliasChange:
    """Give an alias back to the version that had it before the current one, and record who did it and why.

    The version's stamp is verified as by `promote`. A second rollback goes back one version further. Raises: Conflict if no earlier version
    had the alias, or it is not as it was; CommitConflict.
    """
    change = _Change("rollback", name, alias, approver, reason)
    with _open_runtime(store) as runtime:
        record = AliasRecord(runtime, name, alias)
        before = model_versions.resolve_version(name, alias=alias)
        number = _previous(record.events, before)
        if number is None:
            raise Conflict(
                f"no version of model {name} had the alias '{alias}' before version {before}; promote one", model=name, alias=alias
            )
        with read_facts(f"models:/{name}/{number}", runtime) as facts:
            _refuse_archived(facts)
            problems, verified = _problems(runtime, facts, deep=False)
            if problems:
                raise Conflict(
                    f"'{alias}' was not given back to version {number} of model {name}: {'; '.join(problems)}",
                    model=name,
                    version=number,
                    problems=problems,
                )
            _make(record, change, _event(facts, change, before, {}), before)
    return change.result(number, before, verified=tuple(verified))


@recorded_change
def archive(
    name: str, version: int | str, *, approver: str, reason: str | None = None, restore: bool = False, store: FeatureStore | None = None
) -> AliasChange:
    """Put a version into MLflow's stage Archived, in which it cannot be promoted, or with `restore` take it out.

    Who did it and why is recorded first. Raises: NotFound; Conflict for a version with an alias.
    """
    change = _Change("restore" if check_flag(restore, "restore") else "archive", name, None, approver, reason)
    number, stage = str(check_version(version)), "None" if restore else ARCHIVED
    with _open_runtime(store) as runtime:
        record = AliasRecord(runtime, name, stage_subject(number))
        with read_facts(f"models:/{name}/{number}", runtime) as facts:
            if (facts.stage or "None") == stage:
                return change.result(number, number, changed=False)
            if facts.aliases and not restore:
                raise Conflict(
                    f"version {number} of model {name} has the alias {', '.join(facts.aliases)}; demote it first",
                    model=name,
                    version=number,
                    aliases=list(facts.aliases),
                )
            record.append(_event(facts, change, number, {}, stage=stage))
            try:
                _set_stage(name, number, stage)
            finally:
                record.settle()
    return change.result(number, number)


class _Change:
    """Who changes what, and why; the arguments are checked."""

    def __init__(self, action: str, name: str, alias: str | None, approver: str, reason: str | None, require: str | None = None) -> None:
        self.action, self.name, self.require = action, check_name(name, "name"), require
        self.alias = None if alias is None else check_name(alias, "alias")
        if not isinstance(approver, str) or not approver.strip():
            raise RequestError("approver= is empty; give the name of who approves this", field="approver")
        self.approver = check_name(approver.strip(), "approver")
        self.reason = None if reason is None else check_name(reason, "reason")

    def result(
        self,
        version: str | None,
        before: str | None,
        *,
        used: Mapping[str, float] | None = None,
        verified: tuple[str, ...] = (),
        changed: bool = True,
    ) -> AliasChange:
        """The result of the change."""
        known = (self.approver, self.reason, self.require, dict(used or {}), verified, changed, times.moment(times.now()))
        return AliasChange(self.action, self.name, version, self.alias, before, *known)


@contextmanager
def _open_runtime(store: FeatureStore | None) -> Iterator[Runtime]:
    """The runtime of a store, after a look at MLflow, whose requests are limited."""
    check_store(store)
    used_store = store if store is not None else FeatureStore()
    try:
        with limit_time(TRANSFER_SECONDS):
            tracking.use_tracking(used_store.settings)
            runtime = runtime_of(used_store)
            runtime.look_at_models()
            yield runtime
    finally:
        if store is None:
            used_store.close()


def _problems(runtime: Runtime, facts: VersionFacts, deep: bool) -> tuple[list[str], list[str]]:
    """What is wrong with the stamp of a version and what it names, and what was verified."""
    links = list(stamp_links(runtime, facts, deep))
    problems = [f"{link.title}: {problem}" for link in links for problem in link.problems]
    return problems, [f"{link.title}: {verified}" for link in links for verified in link.verified]


def _check_requirement(
    requirement: Requirement | None, facts: VersionFacts, replaced: Mapping[str, str | None]
) -> tuple[dict[str, float], list[str]]:
    """The values of the metrics of a requirement, and why it is not met; empty if it is. `replaced` has the version that lost the alias."""
    if requirement is None:
        return {}, []
    metrics: dict[str, Mapping[str, float]] = {OWN: facts.metrics}
    for alias in requirement.aliases:
        holder = replaced[alias] if alias in replaced else _holder(facts.name, alias)
        if holder is not None:
            metrics[alias] = metrics_of(facts.name, holder)
    try:
        used = requirement.values(metrics)
        if requirement.holds(metrics):
            return used, []
    except Conflict as error:
        return {}, [f"the requirement '{requirement.text}' cannot be checked: {error.message}"]
    values = ", ".join(f"{name} = {value:g}" for name, value in used.items())
    return used, [f"the requirement '{requirement.text}' is not met ({values})"]


def _refuse_archived(facts: VersionFacts) -> None:
    if facts.stage == ARCHIVED:
        command = f"featurestore archive {facts.name} {facts.version} --restore"
        problem = f"version {facts.version} of model {facts.name} is archived; restore it first: {command}"
        raise Conflict(problem, model=facts.name, version=facts.version)


def _make(record: AliasRecord, change: _Change, event: Event, before: str | None) -> None:
    """Record a change of an alias, and then make it in MLflow. Raises: CommitConflict if another change came first."""
    if _holder(change.name, str(change.alias)) != before:
        raise Conflict(
            f"the alias '{change.alias}' of model {change.name} was moved meanwhile; nothing was changed, try again", model=change.name
        )
    record.append(event)
    try:
        client = mlflow.MlflowClient()
        with translate_mlflow_errors("model", change.name):
            if event.event == "alias removed":
                client.delete_registered_model_alias(change.name, change.alias)
            else:
                client.set_registered_model_alias(change.name, change.alias, event.version)
    finally:
        # If MLflow did not take it, the next look records what it says.
        record.settle()


def _holder(name: str, alias: str) -> str | None:
    """The version with an alias; None if there is none. Raises: NotFound for an unknown model."""
    with translate_mlflow_errors("model", name):
        version = mlflow.MlflowClient().get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _previous(events: list[Mapping[str, Any]], current: str) -> str | None:
    """The version that had an alias before the current one, by its events, newest first: a rollback undoes the change before it."""
    versions: list[str] = []
    for event in reversed(events):
        if event["event"] != "alias set":
            continue
        if event["details"].get("action") == "rollback":
            versions = versions[:-1] if event["version"] in versions[:-1] else versions
        if not versions or versions[-1] != event["version"]:
            versions.append(event["version"])
    while versions and versions[-1] == current:
        versions.pop()
    return versions[-1] if versions else None


def _event(
    facts: VersionFacts, change: _Change, before: str | None, used: Mapping[str, float], *, removed: bool = False, stage: str | None = None
) -> Event:
    details = {"action": change.action, "before": before, "require": change.require, "used": dict(used)}
    return Event(
        event="stage set" if stage is not None else "alias removed" if removed else "alias set",
        model=facts.name,
        version=facts.version,
        model_id=facts.model_id,
        run_id=facts.run_id,
        training_set=facts.stamp.training_set,
        snapshots=facts.stamp.snapshots,
        metrics=facts.metrics,
        alias=change.alias,
        approver=change.approver,
        stage=stage,
        reason=change.reason,
        details={name: value for name, value in details.items() if value not in (None, {})},
    )


def _set_stage(name: str, version: str, stage: str) -> None:
    with warnings.catch_warnings(), translate_mlflow_errors("model", f"models:/{name}/{version}"):
        # MLflow advises aliases instead, but has nothing else that marks a version as not to be used.
        warnings.simplefilter("ignore", FutureWarning)
        mlflow.MlflowClient().transition_model_version_stage(name, version, stage)
