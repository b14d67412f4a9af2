"""JSON is checked before it is believed."""

import pytest

from minivivit.errors import InputError
from minivivit.files import json_file
from minivivit.files.json_file import read_json, write_json


def test_what_is_written_is_read(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"ü": "é"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text()
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "is the file complete"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[1, 2]", "JSON list"),
        (b"3", "JSON int"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "a whole number in it has 10,000 digits"),
        (b'{"n": -' + b"9" * 400 + b"}", "a whole number in it has 401 digits"),
        (b'{"n": ' + b"[" * 101 + b"]" * 101 + b"}", "is nested more than 100 deep"),
        (b'{"n": ' + b'{"a": ' * 800 + b"1" + b"}" * 801, "is nested more than 100 deep"),
        (b'{"n": ' + b"[" * 2000 + b"]" * 2000 + b"}", "not valid JSON"),
        (b'{"' + b"a" * 10**6 + b'": 1, "' + b"a" * 10**6 + b'": 2}', "aaa...' occurs twice"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' occurs twice"),
    ],
)
def test_bad_json_gives_one_line(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_json(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300 + len(str(path))
    assert str(path) in str(error.value)


def test_what_is_odd_and_no_mistake(tmp_path):
    (tmp_path / "a.json").write_text(
        '{"self": [' + "9" * 300 + ', 1e400, "\\ud800", "\\u0000"], "": ' + "[" * 98 + "]" * 98 + "}"
    )
    assert read_json(tmp_path / "a.json")["self"] == [int("9" * 300), float("inf"), "\ud800", "\0"]


def test_missing_directory_and_oversized(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="is a directory; expected a JSON file: give the name of the file"):
        read_json(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"is a directory; expected a JSON file, such as .*config\.json: give"):
        read_json(tmp_path)
    monkeypatch.setattr(json_file, "MAX_JSON_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": "12345"}')
    with pytest.raises(InputError, match="14 bytes"):
        read_json(tmp_path / "a.json")
