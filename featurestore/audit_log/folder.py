"""The files of the audit log in a home folder: for each chain a lock, a journal, and segments named by the number of their first entry."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from featurestore import private
from featurestore.audit_log.entry import Entry, Line, open_line
from featurestore.audit_log.journal import read_journal
from featurestore.audit_log.segment_file import whole_bytes
from featurestore.settings import Settings

FOLDER, SECRET, FLUSH_LOCK = "audit", "secret", "flush.lock"
SECRET_BYTES = 32
LOCK, JOURNAL = ".lock", ".journal"
_SEGMENT = re.compile(r"([0-9a-f]{32})\.(\d{20})\.jsonl")


class Segment(NamedTuple):
    """A file with entries of a chain; `first` is the number of the first one."""

    chain: str
    first: int
    path: Path


def audit_path(settings: Settings) -> Path:
    """The folder of the audit log."""
    return settings.home_path() / FOLDER


def segment_path(folder: Path, chain: str, first: int) -> Path:
    """The file of a segment."""
    return folder / f"{chain}.{first:020}.jsonl"


def journal_path(folder: Path, chain: str) -> Path:
    """The file with the entries of a chain that have no hashes yet."""
    return folder / f"{chain}{JOURNAL}"


def list_segments(folder: Path) -> Mapping[str, list[Segment]]:
    """The segments of each chain, in order."""
    chains: dict[str, list[Segment]] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if match := _SEGMENT.fullmatch(path.name):
                chains.setdefault(match[1], []).append(Segment(match[1], int(match[2]), path))
    return chains


def read_lines(segment: Segment) -> Iterator[bytes]:
    """The lines of a segment. What follows the last whole one is left out: reserved room, and a line that is being written, or whose
    request was never answered.

    A segment that was removed meanwhile has none.
    """
    try:
        content = segment.path.read_bytes()
    except FileNotFoundError:
        return
    yield from content[: whole_bytes(content)].splitlines()


def read_waiting(folder: Path, chain: str) -> Iterator[Entry]:
    """The entries of a chain that have no hashes yet, and such of before that may also be in its segments."""
    for _, entry in read_journal(journal_path(folder, chain), chain):
        yield entry


def last_line(segment: Segment) -> Line | None:
    """The last entry of a segment; None if it has none. Raises: ValueError if it was edited."""
    lines = list(read_lines(segment))
    return open_line(lines[-1]) if lines else None


def read_heads(folder: Path) -> dict[str, Line]:
    """The last entry of each chain that is in files and whole."""
    heads = {}
    for chain, segments in list_segments(folder).items():
        for segment in reversed(segments):
            try:
                line = last_line(segment)
            except ValueError:
                break
            if line is not None:
                heads[chain] = line
                break
    return heads


def folder_bytes(folder: Path) -> int:
    """The bytes of all segments."""
    total = 0
    for segments in list_segments(folder).values():
        for segment in segments:
            try:
                total += segment.path.stat().st_size
            except FileNotFoundError:
                continue
    return total


def load_secret(folder: Path) -> bytes:
    """The secret of the keyed hashes of this home folder, which is made at first use. Only the owner can read it."""
    private.make_folder(folder)
    path = folder / SECRET
    if not path.exists():
        made = folder / f"{SECRET}.{secrets.token_hex(8)}"
        private.write(made, secrets.token_bytes(SECRET_BYTES))
        try:
            # The first of several processes makes it.
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_bytes()
