"""Several real hubs on one PostgreSQL and one NATS server, with the same endpoints and tokens."""

from __future__ import annotations

import json
from pathlib import Path

from databases import ServerDatabase
from fixtures_hub import QUICK_LIMITS, RunningHub, deployment
from fixtures_nats import NatsProcess
from fixtures_postgres import session_server

CREDENTIALS_FOLDER = "bus-credentials"


class SharedHubs:
    """Hubs to start, kill and stop; the first that is started leads.

    empty: their database has no tables yet. environment: more CROSSDOCK_* variables of all of them,
    by their names without the prefix.
    """

    def __init__(
        self,
        directory: Path,
        count: int = 2,
        lanes: int = 1,
        *,
        empty: bool = False,
        **environment: str,
    ) -> None:
        endpoints = deployment(lanes)
        self.nats = NatsProcess(directory / "bus")
        self.nats.settings.directory.mkdir(parents=True)
        login = directory / "hub-login.json"
        own = self.nats.address
        login.write_text(json.dumps({"user": own.user, "password": own.password}))
        credentials = {name: self.nats.address_of(name) for name in endpoints}
        self.hubs: list[RunningHub] = []
        for number in range(count):
            hub = RunningHub(
                directory / f"hub{number}",
                endpoints,
                database="postgresql",
                nats_credentials_file=str(login),
                limits=json.dumps(QUICK_LIMITS),
                shared_database="true",
                endpoints_file=str(directory / "hub0" / "endpoints.json"),
                **environment,
            )
            if self.hubs:
                hub.share_with(self.hubs[0])
            elif empty:
                hub.database = ServerDatabase(session_server())
            folder = hub.data / CREDENTIALS_FOLDER
            folder.mkdir(parents=True)
            hub.data.chmod(0o700)
            for name, address in credentials.items():
                told = {"user": address.user, "password": address.password}
                (folder / f"{name}.json").write_text(json.dumps(told))
            self.hubs.append(hub)

    @property
    def database(self) -> ServerDatabase:
        database = self.hubs[0].database
        assert isinstance(database, ServerDatabase)
        return database

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.nats.settings.port}"

    def start(self) -> SharedHubs:
        for number in range(len(self.hubs)):
            self.start_one(number)
        return self

    def start_one(self, number: int) -> None:
        """Start one of them; the bus with the first."""
        if self.nats.process is None:
            self.nats.start()
        self.hubs[number].add(nats_url=self.nats_url)
        self.hubs[number].start()

    def end(self) -> None:
        for hub in self.hubs:
            if hub.runs:
                hub.thaw()
            hub.kill()
        self.nats.kill()

    def leader(self) -> tuple[int, str]:
        """Term and address of who leads, or has the office, as the row says."""
        found = self.database.query(
            "SELECT term, address FROM leadership WHERE task = 'everything' AND expires_at > "
            "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        )
        return (int(found[0][0]), str(found[0][1])) if found else (0, "")
