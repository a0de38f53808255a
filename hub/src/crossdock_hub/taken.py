"""What stands against a start for now: somebody has it, or had it a moment ago, and may let go.

ConfigurationError
├── AddressTaken       another process listens where the hub is to
└── DatabaseReplaced   a back-up was put in place of the database while it was being opened
"""

from __future__ import annotations

from crossdock.errors import ConfigurationError


class AddressTaken(ConfigurationError):
    """Another process listens there."""


class DatabaseReplaced(ConfigurationError):
    """Who opened the database has the file of before: it has to be opened again."""
