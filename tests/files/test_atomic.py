"""Files and directories are complete or not there; what is no file of its own is not replaced."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, atomic_path, make_directory, naming_errors, write_text
from minivivit.system_errors import message_of

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such thing")


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(errno.EIO, "Input/output error")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_write_text_replaces_and_keeps_line_feeds(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old and longer")
    write_text(path, "naïve\n")
    assert path.read_bytes() == "naïve\n".encode()


def test_a_missing_directory_is_the_operating_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "nowhere" / "a.txt", "text")
    assert caught.value.filename == str(tmp_path / "nowhere" / "a.txt")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a directory; expected the name of a file"):
        write_text(tmp_path, "text")
    assert os.listdir(tmp_path) == []


def test_the_longest_name_that_a_file_may_have(tmp_path):
    write_text(tmp_path / ("a" * 255), "text")
    assert os.listdir(tmp_path) == ["a" * 255]


# --------------------------------------------------------------------------------------------------------------------
# What is there already
# --------------------------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o664])
def test_the_mode_stays(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with atomic_path(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # nobody may read it who could not read the old one
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@POSIX
def test_a_new_file_follows_the_umask(tmp_path):
    usual = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(usual)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@POSIX
def test_the_owner_stays_where_the_system_lets_us(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    given = []

    def only_groups(place, user, group):
        given.append((user, group))
        if user != -1:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(place))

    monkeypatch.setattr(os, "chown", only_groups)
    write_text(path, "new")
    owner = path.stat()
    assert given == [(owner.st_uid, owner.st_gid), (-1, owner.st_gid)]


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may do everything
    with pytest.raises(PermissionError) as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, link, first = tmp_path / "elsewhere" / "target", tmp_path / "link", tmp_path / "first"
    link.symlink_to(Path("elsewhere") / "target")
    first.symlink_to(link)
    if there:
        target.write_text("old")
    write_text(first, "new")
    assert first.is_symlink()
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "first", "link"]


@POSIX
def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("nowhere/c")
    for name, code in (("a", errno.ELOOP), ("c", errno.ENOENT)):
        with pytest.raises(OSError, match=f"/{name}'") as caught:
            write_text(tmp_path / name, "text")
        assert caught.value.errno == code
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@POSIX
def test_a_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with atomic_path(pipe) as temporary, open(temporary, "r+b") as file:  # may seek, as writers of pictures do
        file.write(b"....finished")
        file.seek(0)
        file.write(b"when")
    reader.join()
    assert read == [b"whenfinished"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@POSIX
def test_a_device_is_written_into():
    write_text(os.devnull, "text")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_device_that_is_full_is_named():
    with pytest.raises(OSError, match="/dev/full") as caught:
        write_text("/dev/full", "text")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_an_open_file_of_the_process_is_written_into(tmp_path):
    with open(tmp_path / "out", "wb") as file:
        file.write(b"printed\n")
        file.flush()
        (tmp_path / "door").symlink_to(f"/proc/self/fd/{file.fileno()}")  # as /dev/stdout is
        write_text(tmp_path / "door", "page")
        assert os.fstat(file.fileno()).st_nlink == 1
    assert (tmp_path / "out").read_bytes() == b"printed\npage"


# --------------------------------------------------------------------------------------------------------------------
# Errors of the system
# --------------------------------------------------------------------------------------------------------------------


def fail_with(code):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_of_the_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, call, fail_with(code))
    with pytest.raises(OSError, match=r"a\.txt") as caught:
        write_text(path, "new")
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_library_s_error_without_a_number(tmp_path):
    with (
        pytest.raises(OSError, match=r"a\.png cannot be written: encoder error -2"),
        atomic_path(tmp_path / "a.png"),
    ):
        raise OSError("encoder error -2 when writing image file")
    assert os.listdir(tmp_path) == []


def refuse(path, code):
    raise OSError(code, os.strerror(code), os.fspath(path))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_what_was_to_be_done_with_the_file_is_said(tmp_path, monkeypatch, code):
    path = tmp_path / "a.txt"

    def read_another() -> None:
        with naming_errors(path):
            refuse(tmp_path / "source", code)

    def make() -> None:
        monkeypatch.setattr(Path, "mkdir", lambda place, *_, **__: refuse(place.parent, code))
        make_directory(path / "deeper")

    def write() -> None:
        monkeypatch.setattr(os, "open", lambda place, *_: refuse(place, code))
        write_text(path, "text")

    for do, name, verb in ((read_another, "source", "read"), (make, "a.txt", "written"), (write, "a.txt", "written")):
        with pytest.raises(OSError, match=name) as caught:
            do()
        assert f"{name} cannot be {verb} ({os.strerror(code)}); " in message_of(caught.value)


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")
    with pytest.raises(FileNotFoundError) as caught, naming_errors(tmp_path / "b"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")


# --------------------------------------------------------------------------------------------------------------------
# Directories
# --------------------------------------------------------------------------------------------------------------------


def fill(place: Path) -> None:
    (place / "a").write_text("a")
    (place / "b").mkdir()
    (place / "b" / "c").write_text("c")


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_appears_when_it_is_complete(tmp_path, there):
    directory = tmp_path / "x" / "y"
    if there:
        directory.mkdir(parents=True)
        node = directory.stat().st_ino
    with atomic_directory(directory) as place:
        fill(place)
        assert not (directory / "a").exists()
    assert names(tmp_path) == ["x", "x/y", "x/y/a", "x/y/b", "x/y/b/c"]
    if there:
        assert directory.stat().st_ino == node  # a shell that stands in it, or a mount, still does


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_failure_leaves_no_directory(tmp_path, there, error):
    directory = tmp_path / "x" / "y"
    if there:
        directory.mkdir(parents=True)

    def fail() -> None:
        with atomic_directory(directory) as place:
            fill(place)
            raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        fail()
    assert names(tmp_path) == (["x", "x/y"] if there else [])
    with atomic_directory(directory) as place:  # nothing blocks the second try
        fill(place)


def test_a_move_that_fails_is_taken_back(tmp_path, monkeypatch):
    usual = Path.rename

    def rename(self, target):
        if self.name == "b":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return usual(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match=str(tmp_path / "b")), atomic_directory(tmp_path) as place:
        fill(place)
    assert names(tmp_path) == []


def test_errors_within_name_what_would_be_there(tmp_path):
    directory = tmp_path / "x"
    with pytest.raises(FileNotFoundError) as caught, atomic_directory(directory) as place:
        (place / "sub" / "file").write_text("text")
    assert caught.value.filename == str(directory / "sub" / "file")


def test_a_directory_that_is_not_free(tmp_path):
    (tmp_path / ".hidden").touch()
    with pytest.raises(InputError, match=r"is not empty, it holds '\.hidden'"), atomic_directory(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_directory(tmp_path / ".hidden"):
        pass
    with pytest.raises(InputError, match="cannot be made"), atomic_directory(tmp_path / ".hidden" / "x"):
        pass
    assert names(tmp_path) == [".hidden"]


def test_a_directory_that_is_filled_meanwhile_is_left_alone(tmp_path):
    def fill_both() -> None:
        with atomic_directory(tmp_path) as place:
            fill(place)
            (tmp_path / "theirs").touch()

    with pytest.raises(InputError, match="'theirs'"):
        fill_both()
    assert names(tmp_path) == ["theirs"]
