"""The wheels that go into the browser are wheels."""

import base64
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from minivivit.errors import InputError, MissingExtraError
from minivivit.site.wheels import wheel_of_clone, wheel_of_installed

ROOT = Path(__file__).parents[2]


def opened(wheel):
    return zipfile.ZipFile(io.BytesIO(wheel.data))


def test_the_package_runs_from_its_wheel_and_knows_its_version(tmp_path):
    wheel = wheel_of_clone(ROOT)
    (tmp_path / wheel.name).write_bytes(wheel.data)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / wheel.name)!r}); import minivivit, importlib.metadata as m; "
        "print(minivivit.__file__, m.version('minivivit'), *sorted(r for r in m.requires('minivivit')))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert wheel.name in said
    assert " 0.1.0 " in said
    assert "numpy>=" in said
    assert wheel == wheel_of_clone(ROOT)
    names = opened(wheel).namelist()
    assert "minivivit/bundled/motion_model/model.safetensors" in names
    assert not [
        name for name in names if name.endswith(".pyc") or name.startswith(("notebooks", "minivivit/site/assets"))
    ]
    assert "minivivit/site/live.py" in names


def test_an_installed_package_becomes_its_wheel_again():
    wheel = wheel_of_installed("tqdm")
    assert wheel.name == f"tqdm-{importlib.metadata.version('tqdm')}-py3-none-any.whl"
    with opened(wheel) as archive:
        assert archive.testzip() is None
        record = archive.read(next(name for name in archive.namelist() if name.endswith("/RECORD"))).decode()
        for line in record.splitlines()[:-1]:
            name, digest, size = line.rsplit(",", 2)
            data = archive.read(name)
            assert int(size) == len(data)
            spelled = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert digest == f"sha256={spelled}"
        assert set(archive.namelist()) == {line.rsplit(",", 2)[0] for line in record.splitlines()}
        assert "tqdm/std.py" in archive.namelist()


def test_what_cannot_go_into_a_browser_is_refused():
    with pytest.raises(InputError, match=r"the installed numpy cannot go into the browser: it holds numpy.*, which is"):
        wheel_of_installed("numpy")
    with pytest.raises(MissingExtraError, match=r"pip install 'minivivit\[site\]'"):
        wheel_of_installed("no-such-package")
