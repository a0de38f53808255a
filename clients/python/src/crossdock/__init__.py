"""Client of the crossdock hub: generated stubs, the compiled contract, bus rules, errors, CLI."""

from __future__ import annotations

__version__ = "0.1.0"
