"""`python -m crossdock.cli`: the command line without an installed script."""

from __future__ import annotations

from crossdock.cli import main

main()
