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
        (b'{"n": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' occurs twice"),
    ],
)
def test_bad_json_gives_one_line(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_json(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_missing_directory_and_oversized(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="does not exist or is not a file"):
        read_json(tmp_path)
    monkeypatch.setattr(json_file, "MAX_JSON_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": "12345"}')
    with pytest.raises(InputError, match="14 bytes"):
        read_json(tmp_path / "a.json")
