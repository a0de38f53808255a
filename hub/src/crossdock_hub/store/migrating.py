"""Brings the schema up to date at start, within the caller's transaction.

A start that has nothing to bring up to date, so nearly every one, asks one row and never loads
Alembic, which with what it needs is a tenth of the time until a hub serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from crossdock.errors import ConfigurationError
from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSIONS: Final = "alembic_version"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Apply every migration that the database does not have yet, up to a revision.

    Raises ConfigurationError when its tables are those of a newer version, and changes nothing.
    """
    present = _present(connection)
    if revision == "head" and present == revisions()[-1]:
        return
    if present and not is_known(present):
        raise ConfigurationError(
            f"the database is of a newer version of the hub (tables {present}, this version knows "
            f"them up to {revisions()[-1]}); install that version, or put back a copy from before"
        )
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def is_current(connection: Connection) -> bool:
    """Whether the schema is the one of this version: neither older nor newer."""
    return _present(connection) == revisions()[-1]


def is_known(revision: str) -> bool:
    """Whether this version can bring a schema of that revision up to date."""
    return revision in revisions()


def revisions() -> list[str]:
    """Every revision, oldest first: each migration's file begins with its own."""
    return sorted(path.name.split("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*.py"))


def _present(connection: Connection) -> str:
    """The revision of its tables; "": it has none."""
    if not inspect(connection).has_table(_VERSIONS):
        return ""
    told = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()
    return str(told or "")


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
