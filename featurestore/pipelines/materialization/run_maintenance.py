"""What a run does to keep its feature table small, so that later runs, joins and plans cost as much as the first ones."""

from collections.abc import Iterable, Iterator
from functools import partial

from featurestore.dsl import documents
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import commits, compaction, snapshot_bound, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.pipelines.materialization.checkpoint import load_checkpoint
from featurestore.pipelines.materialization.rewrite import Job, Layout, rewrite
from featurestore.records import definitions, editions, expiries, feature_table, source_pins
from featurestore.records.runtime import Runtime

logger = logger_of(__name__)


def maintain_copies(runtime: Runtime, names: Iterable[str]) -> None:
    """As `maintain_after_run`, for copies of sources to which a run wrote, after their views were computed from them."""
    for name in names:
        try:
            table = tables.load(runtime.catalog, name)
            with runtime.engine.session(data_folders(runtime.operator.grant(table))) as session:
                maintain_after_run(runtime, session, Layout(()), table)
        except FeatureStoreError as error:
            logger.warning("%s was not maintained after a run, which a later run does: %s", name, error)


def maintain_after_run(runtime: Runtime, session: Session, layout: Layout, table: Table) -> None:
    """Merge small files and expire snapshots of a table to which rows were added, when that pays.

    What fails is logged and left to a later run, since the rows are committed. The handle then shows the newest state.
    Raises: NotReady if the table cannot be loaded after a failure.
    """
    for maintain in (partial(_merge_small_files, session=session, layout=layout), _expire_snapshots):
        try:
            maintain(runtime, table)
        except FeatureStoreError as error:
            logger.warning("%s was not maintained after a run, which a later run does: %s", table.name, error)
            table.show(commits.reload(table))


def _merge_small_files(runtime: Runtime, table: Table, *, session: Session, layout: Layout) -> None:
    if compaction.files_since_rewrite(table) < compaction.MIN_RECENT_FILES or load_checkpoint(table) is not None:
        return
    granted = runtime.operator.grant(table)
    groups = compaction.mergeable_groups(granted)
    if groups:
        rewrite(session, granted, layout, [Job(group) for group in groups], attempts=snapshot_bound.ATTEMPTS)
        logger.info("merged %d small files of %s", sum(group.files for group in groups), table.name)


def _expire_snapshots(runtime: Runtime, table: Table) -> None:
    note = partial(expiries.with_expiry, runtime.author)
    snapshot_bound.bound_snapshots(table, note, lambda: frozenset(_readers(runtime, table)))


def _readers(runtime: Runtime, table: Table) -> Iterator[int]:
    """The snapshots from which the store will read changes of a feature table: to publish them, and to compute the views over it."""
    name = table.name.rpartition(".")[2]
    for cursor in (runtime.online.cursor(name), editions.read(runtime).get(name)):
        if cursor is not None and cursor.snapshot_id is not None:
            yield cursor.snapshot_id
    for versions in definitions.read_registry(runtime).rows.values():
        for row in versions:
            source = row.document.get("source") if row.kind == "view" else None
            if isinstance(source, dict) and documents.source(source).catalog_table == table.name:
                reader = tables.find(runtime.catalog, runtime.features_table(row.table))
                pin = None if reader is None else feature_table.state_of(reader.properties).sources.get(table.name)
                if pin is not None and (snapshot_id := source_pins.snapshot_id(pin)) is not None:
                    yield snapshot_id
