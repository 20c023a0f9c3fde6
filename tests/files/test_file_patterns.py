"""Which files a pattern matches, and when a file counts as changed."""

import os
from pathlib import Path

import pytest

from featurestore.errors import NotFound, RequestError
from featurestore.files.listing import file_states, first_changed, list_files


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def matching_files(folder: Path, pattern: str) -> list[str]:
    return [os.path.relpath(path, folder) for path in list_files(f"{folder}/{pattern}")]


def test_what_writers_leave_is_no_file_of_a_pattern(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", ".b.parquet", "_c.parquet", ".d.parquet.tmp-1.parquet", ".a.parquet.crc", "a.parquet.crc")
    put(tmp_path, "_temporary/0/e.parquet", ".staging/f.parquet", "day/_g.parquet", "day/h.parquet", "_day=1/i.parquet")
    assert matching_files(tmp_path, "*.parquet") == ["a.parquet"]
    assert matching_files(tmp_path, "**/*.parquet") == ["_day=1/i.parquet", "a.parquet", "day/h.parquet"]
    assert matching_files(tmp_path, "*") == ["_day=1", "a.parquet", "day"]
    assert matching_files(tmp_path, "*/*.parquet") == ["_day=1/i.parquet", "day/h.parquet"]
    # What is written out is meant.
    assert matching_files(tmp_path, "_temporary/0/*.parquet") == ["_temporary/0/e.parquet"]
    assert matching_files(tmp_path, "_*.parquet") == ["_c.parquet"]
    assert matching_files(tmp_path, ".b.parquet") == [".b.parquet"]


def test_names_that_look_like_patterns_are_names_where_they_are_there(tmp_path: Path) -> None:
    put(tmp_path, "x[1]/a.parquet", "x[1]/b.parquet", "x1/c.parquet", "x[1]/q?*.parquet", "y[z].parquet", "yz.parquet")
    assert matching_files(tmp_path, "x[1]/*.parquet") == ["x[1]/a.parquet", "x[1]/b.parquet", "x[1]/q?*.parquet"]
    assert matching_files(tmp_path, "y[z].parquet") == ["y[z].parquet"]
    assert matching_files(tmp_path, "x[0-9]/*.parquet") == ["x1/c.parquet"]
    assert matching_files(tmp_path, "x[[]1]/[ab].parquet") == ["x[1]/a.parquet", "x[1]/b.parquet"]


def test_two_stars_go_through_all_folders_and_through_no_link(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "one/b.csv", "one/two/c.csv", "other/d.csv")
    (tmp_path / "one" / "again").symlink_to(tmp_path)
    assert matching_files(tmp_path, "**/*.csv") == ["a.csv", "one/b.csv", "one/two/c.csv", "other/d.csv"]
    assert matching_files(tmp_path, "**/two/*.csv") == ["one/two/c.csv"]
    # A link that is named is followed.
    assert matching_files(tmp_path, "one/again/*.csv") == ["one/again/a.csv"]


def test_paths_are_spelled_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "d/a.csv", "e.csv")
    monkeypatch.chdir(tmp_path)
    assert (list_files("d/*.csv"), list_files("./d/*.csv"), list_files("*.csv"), list_files("d/../e.csv")) == (
        ["d/a.csv"],
        ["./d/a.csv"],
        ["e.csv"],
        ["d/../e.csv"],
    )


def test_what_is_no_file_is_told_by_name(tmp_path: Path) -> None:
    put(tmp_path, "good.parquet", "out.parquet/part-0.parquet")
    with pytest.raises(NotFound, match=r"did you mean '.*good.parquet'"):
        list_files(f"{tmp_path}/god.parquet")
    with pytest.raises(RequestError, match=r"out.parquet is a folder; name the files in it"):
        file_states(list_files(f"{tmp_path}/*.parquet"))
    (tmp_path / "gone.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"gone.parquet is a link to nothing"):
        file_states(list_files(f"{tmp_path}/go[n]e.parquet"))
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(RequestError, match=r"pipe.parquet is not a file"):
        file_states([f"{tmp_path}/pipe.parquet"])
    with pytest.raises(RequestError, match="removed meanwhile"):
        file_states([f"{tmp_path}/never.parquet"])


@pytest.mark.parametrize("replaced", [False, True], ids=["written over", "replaced"])
def test_a_file_of_the_same_size_and_time_is_another(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    os.utime(path, ns=(1, 1))
    before = file_states([str(path)])
    assert first_changed(before) is None
    new = tmp_path / "new" if replaced else path
    new.write_text("new")
    os.utime(new, ns=(1, 1))
    if replaced:
        new.rename(path)
    assert first_changed(before) == str(path)
    path.unlink()
    assert first_changed(before) == str(path)
