"""What an erasure removed, and what it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class ErasedTable(Result):
    """A table that had rows of the key: how many rows were in its files, of how many of its snapshots, and the files."""

    table: str
    rows: int
    files: int
    snapshots: int


@dataclass(frozen=True, eq=False)
class ErasedTrainingSet(Result):
    """A training set that lost rows. It has another digest since, and is rebuilt with that; `models` were trained on the rows before."""

    id: str
    rows: int
    digest_before: str
    digest: str | None
    models: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Erasure(Result):
    """The certificate of an erasure; a dry run has no `number`.

    `key_digest` is the SHA-256 by which the key can be recognized by who has it. `remaining` are places that still have rows of the key,
    or may have, and that somebody else must look after; `complete` says that there are none.
    """

    number: int | None
    entity: str
    key_digest: str
    at: datetime
    by: str | None
    tables: tuple[ErasedTable, ...]
    training_sets: tuple[ErasedTrainingSet, ...]
    online: tuple[str, ...]
    remaining: tuple[str, ...]
    complete: bool
    finished: bool = True

    @classmethod
    def of_certificate(
        cls, number: int | None, entity: str, key_digest: str, at: datetime, by: str | None, certificate: Mapping[str, Any], finished: bool
    ) -> "Erasure":
        """An erasure as its certificate describes it."""
        return cls(
            number,
            entity,
            key_digest,
            at,
            by,
            tuple(ErasedTable.from_dict(table) for table in certificate.get("tables", ())),
            tuple(ErasedTrainingSet.from_dict(one) for one in certificate.get("training_sets", ())),
            tuple(certificate.get("online", ())),
            tuple(certificate.get("remaining", ())),
            bool(finished and not certificate.get("remaining", ("not finished",))),
            finished,
        )
