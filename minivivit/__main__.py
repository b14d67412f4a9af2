"""``python -m minivivit`` is the command ``minivivit``."""

import sys

from minivivit.cli import main

if __name__ == "__main__":
    sys.exit(main())
