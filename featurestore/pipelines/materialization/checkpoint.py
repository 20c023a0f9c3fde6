"""The checkpoint of a backfill, stored in one property of its table: what it computes, and the files of its finished chunks.

No snapshot refers to these files, so no reader sees them. The commit that appends them removes the property.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from featurestore.errors import Conflict
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization.checks import Tally
from featurestore.pipelines.materialization.chunk_files import ChunkCounts

CHECKPOINT = "featurestore.unfinished"


@dataclass(frozen=True)
class Checkpoint:
    """The inputs of a run and its finished chunks. The names of the fields are stored.

    `run` is the time of the run, `start` and `upper` its requested interval, all in microseconds. `pins` are the snapshots of its
    sources, `base` the table's snapshot at the start, `plan` what else the chunks depend on. `done` names the finished chunks, and
    `files` are theirs; `computed` rows were computed for them, `rows` are to be appended, and `corrections` of these replace stored
    ones. `tally` has the counts for the view's checks.
    """

    run: int
    start: int | None
    upper: int
    pins: Mapping[str, str]
    base: int | None
    plan: str
    done: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    computed: int = 0
    rows: int = 0
    corrections: int = 0
    tally: Mapping[str, Any] = field(default_factory=dict)

    def after(self, chunk: str, counts: ChunkCounts, files: Iterable[str] = ()) -> "Checkpoint":
        """The checkpoint once a chunk is finished; `files` are those of its data files that are to be named in it."""
        return replace(
            self,
            done=(*self.done, chunk),
            files=(*self.files, *files),
            computed=self.computed + counts.computed,
            rows=self.rows + counts.written,
            corrections=self.corrections + counts.corrections,
            tally=((Tally.from_dict(self.tally) if self.tally else Tally()) + counts.tally).to_dict(),
        )

    def to_property(self) -> str:
        """The checkpoint as the value of a table property."""
        return json.dumps(asdict(self), sort_keys=True)


def load_checkpoint(table: Table) -> Checkpoint | None:
    """The checkpoint of a backfill that was interrupted or is running; None if the table has none.

    Raises: Conflict for one of a newer release.
    """
    text = table.properties.get(CHECKPOINT)
    if not text:
        return None
    values = json.loads(text)
    if unknown := sorted(values.keys() - {known.name for known in fields(Checkpoint)}):
        raise Conflict(
            f"{table.name} has the checkpoint of a backfill by a newer release of featurestore ({', '.join(unknown)}): finish it with that"
            f" release, or remove the table's property {CHECKPOINT} to start it again",
            table=table.name,
        )
    return Checkpoint(**{**values, "done": tuple(values["done"]), "files": tuple(values["files"])})


def checkpoint_files(properties: Mapping[str, str]) -> frozenset[str]:
    """The files of the checkpoint in a table's properties, which no snapshot refers to yet; empty without a checkpoint."""
    return frozenset(json.loads(properties[CHECKPOINT])["files"]) if properties.get(CHECKPOINT) else frozenset()
