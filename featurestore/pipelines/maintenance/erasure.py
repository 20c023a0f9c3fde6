"""Erase the rows of an entity's key from everything that the store keeps: every snapshot, training sets, predictions, the online store."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import CommitConflict
from featurestore.lakehouse import history_rewrite, maintenance, scans, tables, tags
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.history_rewrite import Matches, RewrittenHistory
from featurestore.online.ahead import ahead_of
from featurestore.pipelines.maintenance import erasure_jobs, erasure_places, erasure_pushed, erasure_spool
from featurestore.pipelines.maintenance.erasure_places import Subject
from featurestore.pipelines.maintenance.erasure_result import ErasedTable, ErasedTrainingSet, Erasure
from featurestore.pipelines.maintenance.maintain import GRACE
from featurestore.pipelines.materialization.checkpoint import checkpoint_files, load_checkpoint
from featurestore.pipelines.materialization.edition import publish_views
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.feature_statistics import statistics_table
from featurestore.pipelines.training_sets.splits import PART
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.pipelines.training_sets.training_set import manifest_json
from featurestore.push.event_log import PUSH_LOG
from featurestore.records.definitions import Applied
from featurestore.records.erasure_log import BEGUN, ErasureLog, digest_of_key, read_erasures
from featurestore.records.recorded_models import recorded_models
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import MANIFEST, TAG
from featurestore.sharing.copies import remove_copies
from featurestore.sources.kept.copied_table import ORIGIN
from featurestore.values import times
from featurestore.values.humanize import format_plural
from featurestore.values.table_names import KEPT_NAMESPACE, is_in


def erase(runtime: Runtime, entity: str, key: Any, by: str | None, dry_run: bool = False) -> Erasure:
    """Erase a key. In a dry run only search for it.

    Files are rewritten without its rows, and the old ones deleted at once; snapshots, tags and ids stay. A call that was interrupted is
    finished by the same call. Raises: NotFound; RequestError; Conflict for a table that cannot be rewritten, before anything is changed.
    """
    subject = erasure_places.find_subject(runtime, entity, key)
    digest = digest_of_key(entity, subject.values)
    if dry_run:
        return _result(None, subject, digest, by, _Search(runtime, subject, None).run())
    log = ErasureLog(runtime)
    begun = log.begin(entity, digest, by, times.moment(times.now()))
    certificate = _Search(runtime, subject, begun.number).run()
    log.finish(begun, certificate, times.moment(times.now()))
    return _result(begun.number, subject, digest, begun.by, certificate)


def list_erasures(runtime: Runtime) -> list[Erasure]:
    """The certificates of all erasures, newest first; one that is not `finished` was interrupted."""
    return [
        Erasure.of_certificate(row.number, row.entity, row.key_digest, row.at, row.by, row.certificate, finished=row.state != BEGUN)
        for row in read_erasures(runtime)
    ]


def _result(number: int | None, subject: Subject, digest: str, by: str | None, certificate: Mapping[str, Any]) -> Erasure:
    at = times.moment(times.now())
    return Erasure.of_certificate(number, subject.entity, digest, at, by, certificate, finished=number is not None)


class _Search:
    """One pass over all places of a key, which erases it from them, or with `number` None only counts."""

    def __init__(self, runtime: Runtime, subject: Subject, number: int | None) -> None:
        self._runtime, self._subject, self._number = runtime, subject, number
        self._tables: list[ErasedTable] = []
        self._sets: list[ErasedTrainingSet] = []
        self._remaining: list[str] = []

    def run(self) -> dict[str, Any]:
        """The certificate, JSON-ready."""
        for name in self._places():
            # Before anything is changed.
            if (table := tables.find(self._runtime.catalog, name)) is not None:
                history_rewrite.check_rewritable(table)
        if self._number is not None:
            erasure_pushed.empty_logs(self._runtime, self._subject)
        # Training sets before the features that they were made from: then they can be rebuilt at any time, also after an interruption.
        for name, matches in erasure_places.training_set_tables(self._runtime, self._subject).items():
            self._rewrite_training_sets(name, matches)
        # Copies of sources before the features that they are read for, so that no run computes those again.
        for name, matches in erasure_places.copy_tables(self._runtime, self._subject).items():
            self._rewrite(name, matches)
        for name, matches in erasure_places.feature_tables(self._runtime, self._subject):
            self._rewrite(name, matches)
        # Before they are rewritten: what waits now may be logged right after.
        waiting = erasure_spool.waiting_rows(self._runtime.settings.home_path())
        for name, matches in erasure_places.inference_tables(self._runtime, self._subject).items():
            self._rewrite(name, matches)
        if self._sets and tables.find(self._runtime.catalog, statistics_table(self._runtime)) is not None:
            self._rewrite(statistics_table(self._runtime), Matches([{"training_set": erased.id} for erased in self._sets]))
        if self._number is not None:
            # They are made again, without the rows, when a recipient of a share asks for them.
            remove_copies(self._runtime.settings)
        online = list(self._erase_online())
        self._look_elsewhere(waiting)
        return {
            "tables": [table.to_dict() for table in self._tables],
            "training_sets": [erased.to_dict() for erased in self._sets],
            "online": online,
            "remaining": self._remaining,
        }

    def _places(self) -> list[str]:
        """The tables that may have the key."""
        features = [name for name, _ in erasure_places.feature_tables(self._runtime, self._subject)]
        others = (erasure_places.copy_tables, erasure_places.training_set_tables, erasure_places.inference_tables)
        return [*features, *(name for find in others for name in find(self._runtime, self._subject))]

    def _rewrite(self, name: str, matches: Matches, summaries: history_rewrite.Summaries | None = None) -> RewrittenHistory:
        table = tables.find(self._runtime.catalog, name)
        if table is None:
            return RewrittenHistory()
        granted = self._runtime.operator.grant(table)
        if self._number is None:
            found = history_rewrite.find_in_history(granted, matches)
        else:
            found = history_rewrite.rewrite_history(granted, matches, summaries or (lambda _, before: before))
            self._remove_orphans(granted, matches)
        if found.rows:
            self._tables.append(ErasedTable(name, found.rows, found.files, len(found.snapshots)))
        return found

    def _remove_orphans(self, granted: Granted, matches: Matches) -> None:
        """Remove files that no snapshot reaches, as far as they are old enough not to be of a write that is in progress."""
        table = granted.table
        maintenance.remove_orphan_files(table, datetime.now(UTC) - GRACE, pending_files=checkpoint_files)
        if load_checkpoint(table) is not None:
            self._remaining.append(f"{table.name}: an unfinished backfill; finish it with featurestore materialize, and erase again")
        if young := history_rewrite.count_unreached(granted, matches):
            files = format_plural(young, "file")
            self._remaining.append(f"{table.name}: {files} of writes that are in progress, or were interrupted; erase again in a day")

    def _rewrite_training_sets(self, name: str, matches: Matches) -> None:
        granted = self._runtime.operator.grant(tables.load(self._runtime.catalog, name))
        table = granted.table
        tagged = {snapshot: tag.removeprefix(TAG) for tag, snapshot in tags.tags(table).items() if tag.startswith(TAG)}
        manifests: dict[int, dict[str, Any]] = {}
        affected = history_rewrite.find_in_history(granted, matches).snapshots
        models = recorded_models(self._runtime) if affected else []
        for snapshot in affected:
            if snapshot not in tagged:
                continue
            before = json.loads(tables.summary(table, snapshot)[MANIFEST])
            after = _manifest_without(StoredRows(self._runtime, granted, snapshot, _names(before)), before, matches, self._number)
            manifests[snapshot] = after
            trained = tuple(model.label for model in models if before["id"] in model.training_sets)
            digest = None if self._number is None else after["digest"]
            self._sets.append(ErasedTrainingSet(before["id"], before["rows"] - after["rows"], before["digest"], digest, trained))

        def summaries(snapshot: int, before: Mapping[str, str]) -> Mapping[str, str]:
            return {**before, MANIFEST: manifest_json(manifests[snapshot])} if snapshot in manifests else before

        self._rewrite(name, matches, summaries)
        for snapshot, id in tagged.items():
            # Those that a call of this erasure has rewritten that was interrupted.
            manifest = json.loads(tables.summary(table, snapshot)[MANIFEST])
            entries = [entry for entry in manifest.get("erasures", ()) if entry["number"] == self._number and snapshot not in manifests]
            for entry in entries:
                trained = tuple(model.label for model in recorded_models(self._runtime) if id in model.training_sets)
                self._sets.append(ErasedTrainingSet(id, entry["rows"], entry["digest"], manifest["digest"], trained))

    def _erase_online(self) -> Iterator[str]:
        """Publish the feature tables of the key again, in whole, so that no deleted row is left between others; their names."""
        published = [row for row in self._subject.views if self._runtime.online.cursor(row.table) is not None]
        yield from (row.table for row in published)
        if self._number is not None and published:
            publish_views(self._runtime, published, full=True)
            for row in published:
                self._remove_rows_ahead(row)
            self._remaining += self._runtime.online.overwrite_freed()

    def _remove_rows_ahead(self, row: Applied) -> None:
        """Remove those of the key: the source may still have its events, which are not the store's."""
        online, name = self._runtime.online, ahead_of(row.table)
        while (cursor := online.cursor(name)) is not None:
            keys = pa.table({column: [value] for column, value in self._subject.values.items()})
            try:
                online.publish(name, pa.table({}), keys=(), cursor=cursor, since=cursor, removed=keys)
                return
            except CommitConflict:
                # A run has published meanwhile.
                continue

    def _look_elsewhere(self, waiting: int | None) -> None:
        self._remaining += erasure_pushed.look_in_logs(self._runtime, self._subject, self._number is not None)
        for place, rows in erasure_places.source_places(self._runtime, self._subject).items():
            if rows is not None and is_in(place, KEPT_NAMESPACE):
                copied = tables.find(self._runtime.catalog, place)
                if copied is not None and PUSH_LOG in copied.properties:
                    continue
                origin = place if copied is None else copied.properties.get(ORIGIN, place)
                self._remaining.append(f"{origin}: the origin of {place}, which was not searched; remove the rows there")
                continue
            if rows is None:
                self._remaining.append(f"{place}: source files, which were not searched; remove the rows there")
                continue
            table = tables.find(self._runtime.catalog, place)
            if table is not None and (count := _count_rows(self._runtime.operator.grant(table), Matches(rows))):
                self._remaining.append(
                    f"{place}: {format_plural(count, 'row')} of a source table, which is not the store's; delete them there"
                )
        home, dry_run = self._runtime.settings.home_path(), self._number is None
        self._remaining += erasure_jobs.erase_jobs(home, self._subject.values, dry_run)
        self._remaining += erasure_spool.erase_spool(home, waiting, dry_run)


def _names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(column["name"] for column in manifest["columns"])


def _count_rows(granted: Granted, matches: Matches) -> int:
    snapshot_id = granted.table.snapshot_id
    if snapshot_id is None:
        return 0
    reader = scans.read_snapshot(granted, snapshot_id, columns=matches.columns)
    return sum(matches.mask(batch).true_count for batch in reader)


def _manifest_without(stored: StoredRows, manifest: Mapping[str, Any], matches: Matches, number: int | None) -> dict[str, Any]:
    """The manifest of a training set when it has lost the matching rows: its digests and counts are those of the rows that are left."""
    spine = [column["name"] for column in manifest["columns"] if column["role"] == "spine"]
    split = manifest.get("split")
    columns = [*stored.names, *([PART] if split else [])]
    digest, spine_digest = Digest(stored.schema), Digest(pa.schema([stored.schema.field(name) for name in spine]))
    nulls = dict.fromkeys(manifest["nulls"], 0)
    rows, parts = 0, dict.fromkeys((split or {}).get("rows", {}), 0)
    for batch in stored.read(columns=columns):
        rest = batch.filter(pc.invert(matches.mask(batch)))
        rows += rest.num_rows
        digest.update(rest.select(list(stored.names)))
        spine_digest.update(rest.select(spine))
        for name in nulls:
            nulls[name] += rest.column(name).null_count
        for part in parts:
            parts[part] += pc.sum(pc.equal(rest.column(PART), part)).as_py() or 0
    entry = {"number": number, "digest": manifest["digest"], "rows": manifest["rows"] - rows}
    return {
        **manifest,
        "rows": rows,
        "nulls": nulls,
        "digest": digest.table(),
        "column_digests": digest.columns(),
        "spine": {**manifest["spine"], "rows": rows, "digest": spine_digest.table()},
        **({"split": {**split, "rows": parts, "unassigned": rows - sum(parts.values())}} if split else {}),
        "erasures": [*manifest.get("erasures", ()), entry],
    }
