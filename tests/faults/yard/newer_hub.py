"""Run as a program it is a hub of the version after this one, which differs in its last number."""

from __future__ import annotations

import sys

import crossdock
from crossdock_hub.__main__ import main

if __name__ == "__main__":
    series, _, last = crossdock.__version__.rpartition(".")
    crossdock.__version__ = f"{series}.{int(last) + 1}"
    sys.exit(main())
