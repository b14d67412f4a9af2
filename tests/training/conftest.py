"""What holds for every test of this folder."""

import pytest

from minivivit.files.atomic import write_text


@pytest.fixture
def drawn_curves():
    """For a test whose trainings draw their curves."""


@pytest.fixture(autouse=True)
def _curves(request, monkeypatch):
    """Let trainings leave a word in place of their curves: matplotlib takes longer than a tiny training."""
    if "drawn_curves" not in request.fixturenames:
        monkeypatch.setattr(
            "minivivit.training.loop.draw_curves", lambda entries, path: write_text(path, f"{len(entries)} points")
        )
