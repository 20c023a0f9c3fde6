"""Prepare a training set: read its spine, pin its snapshots and compute the id that follows from both, before any row is joined."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from featurestore.compiler.row_policy import RowPolicy, policies_digest
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import Forbidden, RequestError, brief, near
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.records.pinned import Pinned, pin
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import ResolvedService
from featurestore.records.staleness import stale_spine_notes
from featurestore.records.stored_sets import policies_of_join
from featurestore.spines import grid
from featurestore.spines.join_request import JoinRequest
from featurestore.spines.reading import load_spine, spine_of_rows
from featurestore.spines.spine import Spine
from featurestore.spines.time_grid import SpineGrid


@dataclass(frozen=True)
class PreparedTrainingSet:
    """A training set ready to be built: its id, spine and pinned snapshots.

    `request` has no spine any more, and its split has the columns to hash. `notes` are warnings for the manifest; `seconds` is the
    time that preparing took. `policies` are in force on its views and spine tables, by object, for `reader`, whom it is for; None: the
    store itself.
    """

    id: str
    request: TrainingSetRequest
    plan: ServicePlan
    spine: Spine
    spine_digest: str
    pinned: Mapping[str, Pinned]
    notes: Sequence[str]
    seconds: float
    policies: Mapping[str, RowPolicy] = field(default_factory=dict)
    reader: str | None = None


def prepare_training_set(runtime: Runtime, resolved: ResolvedService, request: TrainingSetRequest) -> PreparedTrainingSet:
    """Read the spine, pin the snapshots and compute the id. Raises: RequestError, TypeMismatch or NotFound for invalid input."""
    started = time.monotonic()
    plan = resolved.plan
    pinned = pin(runtime, plan, request.snapshots, resolved.tables)
    spine = read_spine(runtime, request, plan, pinned)
    label, names = request.label, spine.schema.names
    if label is not None and label not in names:
        raise RequestError(f"the spine has no label column {brief(label)}{near(label, names)}", field=label)
    split = None if request.split is None else request.split.bind(names, plan.entity_columns)
    prepared = replace(request, spine=None, split=split)
    content = Digest(spine.schema)
    for table in spine.tables():
        content.update(table)
    digest = content.table()
    # Those of views as the tables were pinned with.
    rules = {f"VIEW {use.view}": pinned[use.table].rules for use in plan.uses if not pinned[use.table].rules.is_open}
    policies = {**policies_of_join(runtime, (), spine.origin), **rules}
    id = f"{request.name}-{_hash(prepared, plan, pinned, digest, policies_digest(policies))}"
    notes = [*resolved.notes, *_stale_notes(resolved, spine, pinned)]
    seconds = time.monotonic() - started
    return PreparedTrainingSet(id, prepared, plan, spine, digest, pinned, notes, seconds, policies, runtime.reader.recorded_name)


def check_policies(runtime: Runtime, prepared: PreparedTrainingSet) -> None:
    """Check that what is in force for the runtime's reader is what was when the training set was prepared. Raises: Forbidden; NotReady."""
    if runtime.reader.sees_everything and prepared.reader is None:
        return
    now = policies_of_join(runtime, [use.view for use in prepared.plan.uses], prepared.spine.origin)
    if policies_digest(now) != policies_digest(prepared.policies):
        raise Forbidden(
            f"the policies on what training set {prepared.id} reads have changed since it was asked for; ask for it again",
            principal=prepared.reader,
        )


def _stale_notes(resolved: ResolvedService, spine: Spine, pinned: Mapping[str, Pinned]) -> Iterable[str]:
    if not resolved.policies or spine.ends is None:
        return ()
    watermarks = {table: at.state.through for table, at in pinned.items()}
    return stale_spine_notes(resolved.policies, resolved.plan, watermarks, spine.ends[1])


def _hash(request: TrainingSetRequest, plan: ServicePlan, pinned: Mapping[str, Pinned], spine_digest: str, policies: str | None) -> str:
    """A hash of the request, the spine, the pinned snapshots and the policies in force."""
    split = request.split
    content = {
        "service": plan.service,
        "fingerprint": plan.fingerprint,
        "views": {table: [str(at.snapshot_id), at.table.properties.get("featurestore.fingerprint")] for table, at in pinned.items()},
        "spine": spine_digest,
        "timestamp": request.timestamp,
        "label": request.label,
        "known": request.known,
        # The order of the parts counts: each part starts where the one before ends.
        **({"exclude": list(request.exclude)} if request.exclude else {}),
        # As the entries around it, left out where there is none, so that ids from before there were any are unchanged.
        **({} if policies is None else {"policies": policies}),
        **({} if split is None else {"split": [list(split.by), [list(part) for part in split.parts]]}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_spine(runtime: Runtime, request: JoinRequest, plan: ServicePlan, pinned: Mapping[str, Pinned]) -> Spine:
    """The spine of a request: the caller's rows, or a grid over the keys of the pinned tables. Raises: as reading either does."""
    if isinstance(request.spine, SpineGrid):
        with grid.open_grid(runtime, plan, pinned, request.spine, request.timestamp, request.known) as rows:
            return spine_of_rows(rows, plan, request.timestamp, runtime.settings.spill_path())
    return load_spine(runtime, request.spine, plan, request.timestamp)
