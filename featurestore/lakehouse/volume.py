"""The size of a snapshot, from its summary: no file is opened."""

from dataclasses import dataclass

from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table


@dataclass(frozen=True)
class Volume:
    """The number of data files, their bytes and rows; None where the summary has no count. Rows in delete files are counted too."""

    files: int | None
    bytes: int | None
    rows: int | None


def volume(table: Table, snapshot_id: int | None) -> Volume:
    """The size of a snapshot; zero for None, when nothing was ever written. Raises: NotFound if there is no such snapshot."""
    if snapshot_id is None:
        return Volume(0, 0, 0)
    noted = tables.summary(table, snapshot_id)
    files, size, rows = (noted.get(name) for name in ("total-data-files", "total-files-size", "total-records"))
    return Volume(*(None if value is None else int(value) for value in (files, size, rows)))
