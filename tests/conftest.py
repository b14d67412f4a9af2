"""What holds for every test."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pytest_configure(config):
    """Turn warnings that come from our own code into errors: from the package, the tests, and what they share.

    What another library's own code warns of is shown in the summary, and is no failure: its next release may.
    """
    shared = {path.stem for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.py")}
    ours = "|".join(map(re.escape, ["minivivit", *sorted(shared)]))
    config.addinivalue_line("filterwarnings", rf"error:::({ours})(\.|\Z)")
