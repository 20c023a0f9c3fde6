"""The link of a chain with the periods in which a version shared its model's traffic: the arms and versions that were recorded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featurestore.models.registry import model_versions
from featurestore.models.registry.version_facts import VersionFacts
from featurestore.pipelines.lineage.audit_result import Link
from featurestore.pipelines.lineage.traffic import periods
from featurestore.pipelines.lineage.traffic_result import TrafficPeriod
from featurestore.records.runtime import Runtime
from featurestore.records.traffic import read_changes
from featurestore.values import times


def traffic_links(runtime: Runtime, facts: VersionFacts, events: Sequence[Mapping[str, Any]]) -> Iterator[Link]:
    """The periods of splits in which an alias led to the version, if there are any. `events` are those of the audit trail, newest first.

    Verified: each alias had, by the audit trail, the version that was recorded with the split; those of the split in force still exist.
    """
    shared = [period for period in periods(read_changes(runtime, facts.name)) if facts.version in period.versions.values()]
    if not shared:
        return
    problems = [problem for period in shared for problem in _version_problems(facts.name, period, events)]
    verified = [] if problems else [f"registry.models names the same versions behind the aliases of {len(shared)} periods"]
    if shared[0].until is None:
        aliases = model_versions.registered_versions(facts.name).aliases
        gone = [alias for alias in shared[0].versions if alias not in aliases]
        problems += [f"the alias '{alias}' of the split in force does not exist any more" for alias in gone]
        verified += [] if gone else ["every alias of the split in force exists"]
    yield Link("traffic", facts.name, {"periods": [period.to_dict() for period in shared]}, tuple(verified), tuple(problems))


def _version_problems(model: str, period: TrafficPeriod, events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    since = times.text(times.micros(period.since)) or ""
    for alias, version in period.versions.items():
        # Times of this form sort as text.
        before = (event for event in events if event["model"] == model and event["alias"] == alias and event["at"] <= since)
        newest = next(before, None)
        if newest is None or newest["event"] != "alias set" or newest["version"] != version:
            recorded = "nothing" if newest is None else f"'{newest['event']}' to version {newest['version']}"
            yield f"the split since {since} has version {version} behind '{alias}', but registry.models says {recorded}"
