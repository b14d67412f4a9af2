"""`minivivit site` refuses in a line what it cannot do, before it writes anything."""

import json

import pytest

from minivivit.cli import main
from minivivit.errors import InputError
from minivivit.site.pyodide import CDN, CORE, LOCK, PACKAGES, VERSION, Pyodide, copy_pyodide, find_pyodide
from minivivit.site.sources import find_clone


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["site", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_a_place_where_something_is(capsys, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "is not empty, it holds 'mine.txt'" in refused(capsys, tmp_path / "full")
    assert "is a file" in refused(capsys, tmp_path / "full" / "mine.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_no_clone(capsys, tmp_path, monkeypatch):
    assert "is no clone of minivivit" in refused(capsys, tmp_path / "new", "--sources", tmp_path)
    monkeypatch.setattr("minivivit.site.sources.__file__", str(tmp_path / "lib" / "minivivit" / "site" / "sources.py"))
    monkeypatch.chdir(tmp_path)
    assert "run this in a clone of minivivit's repository" in refused(capsys, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_clone_is_where_the_package_runs_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (find_clone(None) / "notebooks" / "vivit_one_page.py").is_file()


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a Pyodide: every package needs the next, and pandas nobody."""
    folder = tmp_path / "py"
    folder.mkdir()
    for name in CORE:
        (folder / name).write_text(name)
    packages = {}
    for name, following in zip(PACKAGES, [*PACKAGES[1:], "prompt_toolkit"], strict=True):
        packages[name] = {"file_name": f"{name}.whl", "depends": [following]}
    packages["prompt-toolkit"] = {"file_name": "prompt_toolkit.whl", "depends": ["numpy"]}
    packages["pandas"] = {"file_name": "pandas.whl", "depends": []}
    for package in packages.values():
        (folder / package["file_name"]).write_text("wheel")
    (folder / LOCK).write_text(json.dumps({"info": {"version": VERSION}, "packages": packages}))
    return folder


def test_what_is_needed_of_a_pyodide_is_copied(tmp_path, folder):
    (tmp_path / "lite").mkdir()
    copy_pyodide(find_pyodide(str(folder)), tmp_path / "lite")
    copied = {path.name for path in (tmp_path / "lite" / "pyodide").iterdir()}
    assert copied == {path.name for path in folder.iterdir()} - {"pandas.whl"}
    lock = json.loads((tmp_path / "lite" / "pyodide" / LOCK).read_text())
    assert "pandas" not in lock["packages"]
    assert lock["info"] == {"version": VERSION}


@pytest.mark.parametrize("name", [*CORE, LOCK])
def test_a_pyodide_without_its_core(capsys, tmp_path, folder, name):
    (folder / name).unlink()
    assert f"is no Pyodide: it lacks '{name}'" in refused(capsys, tmp_path / "new", "--pyodide", folder)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "package",
    [
        None,
        {},
        [],
        {"file_name": 3},
        {"file_name": "../outside.whl"},
        {"file_name": "gone.whl"},
        {"file_name": ""},
        {"file_name": "matplotlib.whl", "depends": ["\x1b[2J"]},
    ],
)
def test_a_pyodide_whose_lock_file_leads_astray(tmp_path, folder, package):
    (tmp_path / "outside.whl").write_text("not to be copied")
    lock = json.loads((folder / LOCK).read_text())
    lock["packages"]["matplotlib"] = package
    (folder / LOCK).write_text(json.dumps(lock))
    with pytest.raises(InputError, match=r"lacks the package") as caught:
        find_pyodide(str(folder))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": 3}', "[" * 100_000, "\udcff"])
def test_a_lock_file_that_is_none(folder, text):
    (folder / LOCK).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"is no lock file of Pyodide"):
        find_pyodide(str(folder))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, CDN),
        ("https://a.example/p", "https://a.example/p/"),
        ("https://a.example/p/", "https://a.example/p/"),
        ("http://a.example/p/pyodide.js", "http://a.example/p/"),
        ("http://a.example/p/pyodide.mjs", "http://a.example/p/"),
    ],
)
def test_a_pyodide_on_the_network_is_an_address(given, url):
    assert find_pyodide(given) == Pyodide(url)


@pytest.mark.parametrize("given", ["", "nowhere", "ftp://a.example", "https://", "javascript:alert(1)"])
def test_what_is_neither_a_folder_nor_an_address(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path / "..")
    with pytest.raises(InputError, match=r"is no (?:folder and no address|Pyodide)"):
        find_pyodide(given)
