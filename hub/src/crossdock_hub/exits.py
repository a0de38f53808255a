"""How a hub that can't start ends: with which status, as sysexits.h has them.

78 (EX_CONFIG) says that a person has to change something first, so that a service manager need not
start it again; 69 (EX_UNAVAILABLE) that something is away, or held by another process: it may be
there at the next start.
"""

from __future__ import annotations

from typing import Final

from crossdock.errors import ConfigurationError, ContractError

from crossdock_hub.bus.errors import BusDenied, StreamMismatch
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.postgresql import DatabaseUnfit
from crossdock_hub.taken import AddressTaken, DatabaseReplaced

EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIGURATION: Final = 78
_FOR_A_PERSON = (
    ConfigurationError,
    ContractError,
    BusDenied,
    StreamMismatch,
    DatabaseMoved,
    DatabaseUnfit,
    # The data directory is no directory, or somebody else's.
    PermissionError,
    NotADirectoryError,
    FileExistsError,
)
_FOR_NOW = (AddressTaken, DatabaseReplaced)


def status_of(error: BaseException) -> int:
    """The exit status that an error at the start means."""
    for_a_person = isinstance(error, _FOR_A_PERSON) and not isinstance(error, _FOR_NOW)
    return EXIT_CONFIGURATION if for_a_person else EXIT_UNAVAILABLE
