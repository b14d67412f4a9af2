#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the autograder's image: Python 3.11 or newer, and what minivivit needs.
set -euo pipefail
autograder=${AUTOGRADER:-/autograder}

found=
for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
        found=$python
        break
    fi
done
if [ -z "$found" ]; then
    apt-get update
    found=python3.12
    apt-get install -y python3.12 python3.12-venv || {
        found=python3.11
        apt-get install -y python3.11 python3.11-venv
    }
fi
"$found" -m venv "$autograder/python"
"$autograder/python/bin/pip" install --quiet -r "$autograder/source/requirements.txt"
