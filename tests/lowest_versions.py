"""The lowest versions that pyproject.toml promises, as constraints for pip.

python tests/lowest_versions.py test > lowest.txt && pip install -c lowest.txt '.[test]'
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def lowest_versions(extras: list[str]) -> dict[str, str]:
    """Package -> lowest version, of the core's dependencies and those of extras.

    Raises
    ------
    ValueError
        For a requirement without a lower bound, or with more than that, and for two bounds for one package.
    KeyError
        For an unknown extra.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    lowest: dict[str, str] = {}
    for requirement in sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"]):
        match = REQUIREMENT.fullmatch(requirement)
        if match is None or lowest.setdefault(match[1], match[2]) != match[2]:
            raise ValueError(f"{requirement!r} in {PROJECT.name}: expected one lower bound for each package")
    return lowest


if __name__ == "__main__":
    for package, version in lowest_versions(sys.argv[1:]).items():
        print(f"{package}=={version}")
