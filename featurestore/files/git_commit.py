"""The git commits of definition files, if they are in a repository and git is installed."""

import os
import re
import subprocess
from pathlib import Path

from featurestore.dsl.definitions import Definitions

SECONDS = 5.0
"""Time limit of git: it only reads a few files."""
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
DIRTY = "-dirty"


def commits_of(definitions: Definitions) -> dict[tuple[str, str], str | None]:
    """The git commit of the file of each definition, by kind and name; each folder is asked once."""
    files = {key: Path(place.file) for key, place in definitions.places.items() if place.file}
    commits = {folder: commit_of(folder) for folder in {file.parent for file in files.values()}}
    return {key: commits[file.parent] for key, file in files.items()}


def common_commit(definitions: Definitions) -> str | None:
    """The one commit of all files of definitions, with "-dirty" if one of them has it; None if there are several, or none."""
    commits = set(commits_of(definitions).values())
    plain = {None if commit is None else commit.removesuffix(DIRTY) for commit in commits}
    return max(commits, key=lambda commit: commit or "") if len(plain) == 1 else None


def commit_of(path: Path) -> str | None:
    """The commit that is checked out where `path` is, with "-dirty" if files of its folder differ from it; None without a repository."""
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or not _COMMIT.fullmatch(commit):
        return None
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return f"{commit}{DIRTY}" if changes is None or changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git in a folder; None if it fails, is not installed, or takes too long."""
    # Neither a prompt nor a monitor of the file system that the repository configures.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, env=variables, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
