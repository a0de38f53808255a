"""Users of a NATS of your own: the hub's, and one per endpoint that may do its own work only.

`python -m crossdock_hub.bus.users` (`crossdock hub bus-users`) writes into a directory

- `users.conf`: to be included in the server's `authorization {}`, the same on every node. It holds
  public keys and subjects, no secret.
- `<user>.nk`: the seed (private key, mode 0600) of the hub and of each endpoint, for
  CROSSDOCK_NATS_CREDENTIALS_FILE and the adapters' `credentials_file`.

Run again, it keeps the seeds that are there, adds those of new endpoints, and leaves out of
`users.conf` whom the endpoints file does not name any more. To change a key, remove its seed first.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nkeys
from crossdock.errors import ConfigurationError

from crossdock_hub.bus.streams import HUB_USER, permissions_of
from crossdock_hub.identity import Identities

USERS_FILE: Final = "users.conf"
SEED_BYTES: Final = 32
MAX_SEED_FILE_BYTES: Final = 1024
EXIT_CONFIGURATION: Final = 78


@dataclass(frozen=True, slots=True)
class UsersWritten:
    """What a run did: who has a new seed, whose was kept, and which seeds nobody uses any more."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]


def write_users(endpoints: Iterable[str], directory: Path) -> UsersWritten:
    """Write `users.conf` and the missing seeds. ConfigurationError: a seed there is none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = (HUB_USER, *sorted(endpoints))
    made, users = [], []
    for name in names:
        path = directory / f"{name}.nk"
        if not path.exists():
            seed = nkeys.encode_seed(secrets.token_bytes(SEED_BYTES), nkeys.PREFIX_BYTE_USER)
            _write(path, seed.decode() + "\n", 0o600)
            made.append(name)
        users.append({"nkey": _public_key(path)} | permissions_of(name))
    # nats-server reads JSON as well as its own syntax, but a file to be included has no braces.
    _write(directory / USERS_FILE, f"users: {json.dumps(users, indent=1)}\n", 0o644)
    there = {path.stem for path in directory.glob("*.nk")}
    kept = tuple(name for name in names if name not in made)
    return UsersWritten(tuple(made), kept, tuple(sorted(there - set(names))))


def _public_key(path: Path) -> str:
    try:
        with path.open("rb") as file:
            pair = nkeys.from_seed(bytearray(file.read(MAX_SEED_FILE_BYTES).strip()))
        return str(pair.public_key.decode())
    except (OSError, ValueError, nkeys.NkeysError) as error:
        raise ConfigurationError(
            f"{path} is no nkey seed that can be read ({type(error).__name__}); "
            "remove it to have a new one made, and give that one to its adapter"
        ) from None


def _write(path: Path, text: str, mode: int) -> None:
    """All of it or nothing, and never readable by more than `mode` says."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def main(arguments: Sequence[str]) -> int:
    """The command. 0: written. 78: it can't be, the sentence says why."""
    parser = argparse.ArgumentParser("crossdock hub bus-users", description=__doc__)
    parser.add_argument("--endpoints-file", type=Path, required=True, help="the hub's, JSON")
    parser.add_argument("--output", type=Path, required=True, help="directory, made if missing")
    given = parser.parse_args(arguments)
    try:
        identities = Identities.load(given.endpoints_file)
        written = write_users((each.endpoint for each in identities.callers), given.output)
    except (ConfigurationError, OSError) as error:
        print(f"no users written: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(json.dumps(_told(written, given.output), indent=1))
    return 0


def _told(written: UsersWritten, directory: Path) -> dict[str, Any]:
    return {
        "users_file": str(directory / USERS_FILE),
        "made": list(written.made),
        "kept": list(written.kept),
        "unused": list(written.unused),
        "next": f"include {USERS_FILE} in authorization {{}} of every server and reload it",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
