"""Files are complete or not there."""

import os

import pytest

from minivivit.files.atomic import atomic_path, write_text


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_write_text_replaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old and longer")
    write_text(path, "naïve")
    assert path.read_bytes() == "naïve".encode()


def test_a_missing_directory_is_the_operating_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "a.txt", "text")
