"""The split of a model's traffic with its history, from what was recorded."""

from collections.abc import Sequence

from featurestore.errors import NotFound
from featurestore.pipelines.lineage.traffic_result import Traffic, TrafficPeriod
from featurestore.records import model_events
from featurestore.records.runtime import Runtime
from featurestore.records.traffic import TrafficChange, read_changes


def find_traffic(runtime: Runtime, model: str) -> Traffic:
    """The split of a registered model. Raises: NotFound with the nearest names if no such model was ever recorded."""
    changes = read_changes(runtime, model)
    if not changes:
        known = {event["model"] for event in model_events.list_events(runtime) if event["version"] is not None}
        if model not in known:
            raise NotFound("model", model, known)
    return traffic_after(model, changes)


def traffic_after(model: str, changes: Sequence[TrafficChange]) -> Traffic:
    """The split after these changes, the newest first."""
    history = tuple(periods(changes))
    if not changes:
        return Traffic(model, {}, (), {}, (), None, None, None, ())
    now, keys = history[0], tuple(name for name, _ in changes[0].split.keys)
    return Traffic(model, now.weights, now.shadow, now.versions, keys, now.approver, now.reason, now.since, history)


def periods(changes: Sequence[TrafficChange]) -> list[TrafficPeriod]:
    """The periods between changes, the newest first."""
    ends = [None, *(change.at for change in changes)]
    return [
        TrafficPeriod(change.split.weights, change.split.shadow, change.split.versions, change.approver, change.reason, change.at, end)
        for change, end in zip(changes, ends, strict=False)
    ]
