"""The links of a chain that MLflow knows: the version with its stamp and files, its run, and its aliases."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featurestore.errors import Conflict
from featurestore.models.registry.version_facts import VersionFacts
from featurestore.models.stamps import bundle
from featurestore.models.stamps.stamp import PREFIX
from featurestore.pipelines.lineage.audit_result import Link
from featurestore.records.model_events import ELSEWHERE

Events = Sequence[Mapping[str, Any]]
"""Events of the audit trail, newest first."""


def model_link(facts: VersionFacts, events: Events) -> Link:
    """The version: its stamp is the same in the artifacts, the MLmodel file, the tags and the audit trail; its files too."""
    problems = [*_stamp_problems(facts), *_trail_problems(facts, events)]
    verified = [] if problems else ["the stamp is the same in its artifacts, its MLmodel file, its tags and registry.models"]
    stamp = facts.stamp
    try:
        bundle.check_files(facts.folder, stamp)
        if stamp.files is not None:
            verified.append(f"the digests of {len(stamp.files)} files of the model are those of the stamp")
    except Conflict as error:
        problems.append(error.message)
    known = {
        "version": facts.version,
        "model_id": facts.model_id,
        "stage": facts.stage,
        "training_set": stamp.training_set,
        "service": f"{stamp.plan.service} v{stamp.plan.version}",
        "inputs": [column.name for column in stamp.inputs],
    }
    return Link("model", facts.title, known, tuple(verified), tuple(problems))


def run_link(facts: VersionFacts) -> Link:
    """The run: it exists, and names the training set as its input."""
    name = facts.run_id or "none"
    if facts.run_id is None:
        return Link("run", name, {}, (), ("the model names no run",))
    if facts.run is None:
        return Link("run", name, {}, (), (f"run {name} does not exist in MLflow any more, or is deleted; its metrics are gone",))
    problems, verified = [], ["the run exists"]
    digests = {entry.dataset.digest for entry in facts.run.inputs.dataset_inputs}
    if facts.stamp.digest[:36] in digests:
        verified.append("the training set is an input of the run")
    else:
        problems.append(f"no dataset of run {name} has the digest of training set {facts.stamp.training_set}")
    known = {
        "name": facts.run.info.run_name,
        "user": facts.run.info.user_id,
        "metrics": dict(facts.metrics),
        "params": dict(facts.run.data.params),
    }
    return Link("run", name, known, tuple(verified), tuple(problems))


def alias_links(facts: VersionFacts, events: Events, requested: str | None) -> Iterator[Link]:
    """Each alias of the version with its history; the newest change was recorded with an approver, and MLflow has it."""
    for alias in dict.fromkeys([*([requested] if requested else []), *facts.aliases]):
        history = [event for event in events if event["model"] == facts.name and event["alias"] == alias]
        yield _alias_link(facts, alias, history)


def _alias_link(facts: VersionFacts, alias: str, history: Events) -> Link:
    problems, verified = [], []
    newest = history[0] if history else None
    approver = None
    if newest is None:
        problems.append(f"registry.models has no event of the alias '{alias}'")
    elif newest["event"] != "alias set" or newest["version"] != facts.version:
        problems.append(
            f"registry.models last says '{newest['event']}' to version {newest['version']}, but MLflow has version {facts.version}"
        )
    else:
        approver = newest["approver"]
        verified.append("registry.models and MLflow name the same version")
        if newest["origin"] == ELSEWHERE:
            problems.append(
                f"the alias was moved to version {facts.version} through MLflow itself (found {newest['at']}); nobody approved it"
            )
        elif approver is None:
            problems.append(f"the alias was set at {newest['at']} without an approver")
        problems += _metric_problems(facts, newest)
    return Link(
        "alias", alias, {"approver": approver, "history": [_event_details(event) for event in history]}, tuple(verified), tuple(problems)
    )


def _metric_problems(facts: VersionFacts, event: Mapping[str, Any]) -> Iterator[str]:
    """Metrics that were required at the promotion, and have other values now."""
    for name, value in event["details"].get("used", {}).items():
        if "." not in name and facts.run is not None and facts.metrics.get(name) != value:
            yield f"the metric {name} was {value} at the promotion, and is {facts.metrics.get(name)} now"


def _event_details(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("at", "event", "version", "alias", "approver", "reason", "origin", "details")
    return {name: event[name] for name in names if event[name] not in (None, {})}


def _stamp_problems(facts: VersionFacts) -> Iterator[str]:
    """Where the stamp in the artifacts differs from its summary in the MLmodel file, from tags, and from the manifest beside it."""
    summary = facts.stamp.metadata()[PREFIX]
    for name, value in summary.items():
        if facts.metadata.get(name) != value:
            yield f"the stamp was edited: its {name.replace('_', ' ')} is {value}, but {facts.metadata.get(name)} in the MLmodel file"
    if (facts.manifest.get("id"), facts.manifest.get("digest")) != (facts.stamp.training_set, facts.stamp.digest):
        yield "the stamp was edited: its training set or digest is not that of the manifest beside it"
    for where, tags in facts.tags.items():
        for name, value in facts.stamp.tags().items():
            # A copy of a version, or one that was registered later, has no tags of its own.
            if name in tags and tags[name] != value:
                yield f"the stamp was edited: {name} is {value}, but {tags[name]} in the tags of the {where}"


def _trail_problems(facts: VersionFacts, events: Events) -> Iterator[str]:
    of_version = [event for event in events if _is_of(event, facts) and event["event"] in ("logged", "registered", "attached")]
    if not of_version:
        yield "registry.models has no event of this model; it was not logged with this store"
        return
    recorded = of_version[0]
    snapshots = {name: None if at is None else str(at) for name, at in facts.stamp.snapshots.items()}
    if recorded["training_set"] != facts.stamp.training_set:
        yield f"the stamp names training set {facts.stamp.training_set}, but registry.models {recorded['training_set']}"
    if recorded["snapshots"] != snapshots:
        yield "the stamp names other snapshots than registry.models"


def _is_of(event: Mapping[str, Any], facts: VersionFacts) -> bool:
    if event["version"] is None:
        return facts.model_id is not None and event["model_id"] == facts.model_id
    return (event["model"], event["version"]) == (facts.name, facts.version)
