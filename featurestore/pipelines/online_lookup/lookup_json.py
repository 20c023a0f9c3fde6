"""Write the answer to a lookup as JSON directly from encoded rows, without a Python object per row and status.

The document equals that of `OnlineFeatures.to_json`. The values of stored rows are JSON, each after a comma, so the rows of an entity's
views only need to be concatenated. That is kept for entities that are looked up again.
"""

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from itertools import repeat
from operator import is_
from typing import Final, Literal, NamedTuple, cast

import orjson

from featurestore.compiler.service_plan import ServicePlan
from featurestore.online.store import EncodedKeys, EncodedReads, TableState
from featurestore.pipelines.online_lookup.encoded_policies import EncodedPolicies
from featurestore.pipelines.online_lookup.entity_cache import EntityCache
from featurestore.pipelines.online_lookup.lookup_derived import Columns, DerivedFeatures
from featurestore.pipelines.online_lookup.lookup_form import Entity, LookupForm, Statuses
from featurestore.pipelines.online_lookup.lookup_times import any_older, encode_time, time_texts, times_of_view
from featurestore.pipelines.online_lookup.online_features import NOT_FOUND, PRESENT
from featurestore.pipelines.online_lookup.view_rows import ViewRows, whole_rows

Counts = list[tuple[tuple[str, str], int]]
"""How many entities have which status, by (label of the view, status)."""


def count_statuses(status: Mapping[str, Sequence[str | None]]) -> Counts:
    """How many entities have which status, of the statuses by view of an answer."""
    return [((view, state), states.count(state)) for view, states in status.items() for state in dict.fromkeys(states) if state]


class Answer(NamedTuple):
    """The document, and the statuses in it."""

    content: bytes
    counts: Counts


class Again(Enum):
    """The type of AGAIN."""

    AGAIN = "again"


AGAIN: Final = Again.AGAIN
"""What was kept is not valid anymore, and was dropped: find and read again."""


class Found(NamedTuple):
    """What is kept of the requested entities, None for others. Those are to be read, with the keys `missing`.

    `form` is that of the answers for which they were kept, None if nothing is kept at all.
    """

    ids: Sequence[Hashable]
    entities: Sequence[Entity | None]
    missing: EncodedKeys
    form: LookupForm | None


class _Completed(NamedTuple):
    """All entities of a request, and their statuses; none if all are PRESENT in all views."""

    entities: Sequence[Entity]
    statuses: Sequence[Statuses | None]


class LookupWriter:
    """Writes answers for one service plan, and reuses their common parts while the headers of the tables stay the same.

    With a cache, it keeps entities for as long, but none without a row in a view or with an expired one. Every answer depends on a read of
    the headers, in the same state of the store as the rows that are read with them, so it is the same with and without a cache.
    """

    def __init__(
        self,
        plan: ServicePlan,
        derived: DerivedFeatures | None = None,
        cache: EntityCache | None = None,
        policies: EncodedPolicies | None = None,
    ) -> None:
        """`derived` computes the derived features of the plan, if there are any. `policies` are in force on the rows of its views."""
        self._plan, self._derived, self._policies = plan, derived, policies
        self._form: LookupForm | None = None
        self._kept = (EntityCache(0) if cache is None else cache).open()
        self._nothing: EncodedKeys = [(use.table, ()) for use in plan.uses]
        self._labels = [use.label for use in plan.uses]
        self._all_present = lru_cache(maxsize=16)(self._present)

    def close(self) -> None:
        """Drop what is kept."""
        self._kept.close()

    def find(self, keys: EncodedKeys) -> Found:
        """What is kept of entities with these keys, which are those of each view of the plan."""
        columns = [column for _, column in keys]
        first = columns[0]
        shared = all(map(is_, columns, repeat(first)))
        ids: Sequence[Hashable] = first if shared else list(zip(*columns, strict=True))
        entities = list(map(self._kept.get, ids))
        if None not in entities:
            return Found(ids, entities, self._nothing, self._form)
        absent = [index for index, entity in enumerate(entities) if entity is None]
        if len(absent) == len(ids):
            return Found(ids, [], keys, None)
        selected = {id(column): [column[index] for index in absent] for _, column in keys}
        return Found(ids, entities, [(table, selected[id(column)]) for table, column in keys], self._form)

    def write(self, kept: Found, reads: EncodedReads, fields: Columns, now: int, full: bool) -> Answer | Literal[Again.AGAIN] | None:
        """The answer for what was found and read, with at least one entity; `now` is in microseconds.

        None if policies or the derived features need the engine, or if a table is not there: `lookup` checks whether it is lost.

        Raises: orjson.JSONDecodeError for invalid bytes of a row; NotReady for a table with other keys than its view.
        """
        form = self._current_form([read.table for read in reads.tables])
        if form is None:
            return None
        oldest = [b"" if view.ttl is None else encode_time(now - view.ttl) for view in form.views]
        if kept.form is not None and not self._is_valid(kept, form, oldest):
            return AGAIN
        completed = self._complete(form, kept, reads, oldest)
        rows = None if completed is None else form.rows(completed.entities, fields)
        if completed is None or rows is None:
            return None
        encoded = [entity[1] for entity in completed.entities]
        if not any(completed.statuses):
            states, counts = self._all_present(len(encoded))
            return Answer(form.full % (rows, *states, *time_texts(encoded, len(states))) if full else form.brief % rows, counts)
        return self._write_some(form, rows, encoded, completed.statuses, full)

    def _complete(self, form: LookupForm, kept: Found, reads: EncodedReads, oldest: Sequence[bytes]) -> _Completed | None:
        """All entities, from those that were found and those that were read; None if policies or their derived features need the engine."""
        if not reads.tables[0].rows:
            return _Completed(cast(Sequence[Entity], kept.entities), ())
        views: list[ViewRows] | None
        if self._policies is None:
            views = [whole_rows(read.rows) for read in reads.tables]
        else:
            views = self._policies.show(reads.tables, [keys for _, keys in kept.missing])
        if views is None:
            return None
        looked_up, statuses = form.entities(views, oldest)
        new = form.derive(looked_up)
        if new is None:
            return None
        self._keep(kept, new, statuses)
        return _Completed(_fill(kept.entities, new), _place(kept.entities, statuses)) if kept.entities else _Completed(new, statuses)

    def _current_form(self, tables: list[TableState | None]) -> LookupForm | None:
        form = self._form
        if form is None or not all(map(is_, tables, form.tables)):
            self._kept.clear()
            form = self._form = None if None in tables else LookupForm(self._plan, self._derived, tables)
        return form

    def _is_valid(self, kept: Found, form: LookupForm, oldest: Sequence[bytes]) -> bool:
        """Whether what was found may be used; expired entities are dropped."""
        if kept.form is not form:
            return False
        if not any(oldest):
            return True
        expired = [key for key, entity in zip(kept.ids, kept.entities, strict=True) if entity and any_older(entity[1:2], oldest)]
        self._kept.discard(expired)
        return not expired

    def _keep(self, kept: Found, new: Sequence[Entity], statuses: Sequence[Statuses | None]) -> None:
        """Keep the entities that are PRESENT in all views."""
        ids = kept.ids if not kept.entities else [key for key, entity in zip(kept.ids, kept.entities, strict=True) if entity is None]
        if any(statuses):
            present = [(key, entity) for key, entity, status in zip(ids, new, statuses, strict=True) if status is None]
            ids, new = [key for key, _ in present], [entity for _, entity in present]
        self._kept.add(ids, new)

    def _write_some(
        self, form: LookupForm, rows: bytes, encoded: Sequence[bytes], statuses: Sequence[Statuses | None], full: bool
    ) -> Answer:
        """The answer if an entity has no row in a view, or an expired one."""
        present = (PRESENT,) * len(self._labels)
        by_view = list(zip(*[status or present for status in statuses], strict=True))
        counts = count_statuses(dict(zip(self._labels, by_view, strict=True)))
        if not full:
            return Answer(form.brief % rows, counts)
        times = [times_of_view(encoded, view, [state != NOT_FOUND for state in states]) for view, states in enumerate(by_view)]
        return Answer(form.full % (rows, *map(orjson.dumps, by_view), *times), counts)

    def _present(self, count: int) -> tuple[list[bytes], Counts]:
        """The statuses of `count` entities that have a row in each view: per view as JSON, and counted."""
        return [orjson.dumps([PRESENT] * count)] * len(self._labels), [((label, PRESENT), count) for label in self._labels]


def _place(entities: Sequence[Entity | None], statuses: Sequence[Statuses | None]) -> Sequence[Statuses | None]:
    """The statuses of those that were not found, at their positions among all entities."""
    rest = iter(statuses)
    return [next(rest) if entity is None else None for entity in entities]


def _fill(entities: Sequence[Entity | None], others: Sequence[Entity]) -> list[Entity]:
    """The entities, with the others in place of None."""
    rest = iter(others)
    return [next(rest) if entity is None else entity for entity in entities]
