"""Real hub processes for tests: one shared for the session, and ones a test may stop and kill."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from crossdock.client import HubClient
from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.streams import HUB_USER
from databases import KIND, ServerDatabase, database_of
from fixtures_nats import DIES_WITH_PARENT, free_port
from story import seed_master_data

START_SECONDS = 90.0
STOP_SECONDS = 60.0
LOG_TAIL_CHARACTERS = 6_000
# More than there are tests that take one: they may all run in one process.
LANES = 250
BYTECODE = Path(tempfile.gettempdir()) / f"crossdock-bytecode-{os.getuid()}"
HUB_COMMAND = (sys.executable, "-m", "crossdock_hub")
# The endpoints of our deployment, by role; tests that need work of their own take a lane.
ROLES = {
    "oms": "OMS",
    "netsuite": "ERP",
    "manhattan": "WMS",
    "ups": "CARRIER",
    "shipping-desk": "TMS",
    "operator": "OPERATOR",
}
# Periods at which a hub looks after its bus, and waits before it drains: cut for hubs of one test.
QUICK_LIMITS = {"heal_seconds": 1.0, "health_drain_seconds": 0.2}
_ALIVE: WeakSet[RunningHub] = WeakSet()


@dataclass(frozen=True)
class Lane:
    """A business unit with an ERP, a warehouse and a carrier of its own: no other test's work."""

    number: int

    @property
    def business_unit(self) -> str:
        return f"bu-{self.number:02}"

    @property
    def erp(self) -> str:
        return f"erp-{self.number:02}"

    @property
    def wms(self) -> str:
        return f"wms-{self.number:02}"

    @property
    def carrier(self) -> str:
        return f"carrier-{self.number:02}"


def deployment(lanes: int = LANES) -> dict[str, dict[str, Any]]:
    """Endpoint id -> role and scope: everybody once without limits, and the lanes."""
    endpoints: dict[str, dict[str, Any]] = {name: {"role": role} for name, role in ROLES.items()}
    for number in range(1, lanes + 1):
        lane = Lane(number)
        scope = {"business_units": [lane.business_unit]}
        for name, role in ((lane.erp, "ERP"), (lane.wms, "WMS"), (lane.carrier, "CARRIER")):
            endpoints[name] = {"role": role, "scope": scope}
    return endpoints


class RunningHub:
    """A hub process on its own data directory; it keeps its port over restarts.

    database: kind of its database; "": as the run says. environment: more CROSSDOCK_* variables,
    by their names without the prefix.
    """

    def __init__(
        self,
        directory: Path,
        endpoints: Mapping[str, dict[str, Any]] | None = None,
        *,
        database: str = "",
        **environment: str,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log_file = directory / "hub.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.command: tuple[str, ...] = HUB_COMMAND
        self.address = ""
        self.nats_url = ""
        self._address_file = directory / "address.json"
        self._tokens = directory / "tokens"
        self._listen = f"127.0.0.1:{free_port()}"
        self.database = database_of(self.data, database or KIND)
        self._more = {f"CROSSDOCK_{name.upper()}": value for name, value in environment.items()}
        self._admit(endpoints or deployment(0))

    def _admit(self, endpoints: Mapping[str, dict[str, Any]]) -> None:
        self._tokens.mkdir(parents=True, exist_ok=True)
        document = {}
        for name, entry in endpoints.items():
            token = secrets.token_hex(16)
            (self._tokens / name).write_text(token)
            document[name] = entry | {"token_sha256": [hashlib.sha256(token.encode()).hexdigest()]}
        (self.directory / "endpoints.json").write_text(json.dumps(document))

    def add(self, **environment: str) -> None:
        """More CROSSDOCK_* variables of each start, by their names without the prefix."""
        self._more |= {f"CROSSDOCK_{name.upper()}": value for name, value in environment.items()}

    def share_with(self, other: RunningHub) -> None:
        """Have the database and the callers of another one."""
        self.database, self._tokens = other.database, other._tokens

    # The process

    def environment(self, **more: str) -> dict[str, str]:
        """What the process is started with. more: settings of this start, without the prefix."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSDOCK_", "OTEL_"))}
        if clean.pop("PYTHONDONTWRITEBYTECODE", ""):
            # Else every start would compile some 700 modules anew, for seconds.
            clean.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        settings = {
            "CROSSDOCK_DATA_DIRECTORY": str(self.data),
            "CROSSDOCK_ENDPOINTS_FILE": str(self.directory / "endpoints.json"),
            "CROSSDOCK_ADDRESS_FILE": str(self._address_file),
            "CROSSDOCK_LISTEN": self._listen,
            "CROSSDOCK_REFLECTION": "true",
        }
        if isinstance(self.database, ServerDatabase):
            settings["CROSSDOCK_DATABASE_URL"] = self.database.url
        named = {f"CROSSDOCK_{name.upper()}": value for name, value in more.items()}
        return clean | settings | self._more | named

    def spawn(self) -> None:
        """Start the process and return at once. On the main thread: it dies with its parent's."""
        self._address_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                ["python3", "-I", "-S", "-c", DIES_WITH_PARENT, *self.command],
                env=self.environment(),
                stdout=log,
                stderr=log,
            )
        _ALIVE.add(self)

    def wait_until_serving(self) -> None:
        """Return once the hub has written its addresses, which it does when it serves."""
        deadline = time.monotonic() + START_SECONDS
        while not self._address_file.exists():
            assert self.process is not None and self.process.poll() is None, self.log(tail=True)
            assert time.monotonic() < deadline, f"no hub: {self.log(tail=True)}"
            time.sleep(0.02)
        told = json.loads(self._address_file.read_text())
        self.address, self.nats_url = told["grpc"], told["nats_url"]
        self._listen = self.address

    def start(self) -> RunningHub:
        """Start it and wait until it serves; a start that fails leaves no process behind."""
        self.spawn()
        try:
            self.wait_until_serving()
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def runs(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """Stop it in its tracks, as a machine that swaps or a pause of a virtual one would."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, and wait. Returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Kill and start again, on the same port."""
        self.kill()
        self.start()

    def run_to_its_end(self, **settings: str) -> tuple[int, str]:
        """Start one that can't start: its exit code and what it says. settings: as `environment`"""
        done = subprocess.run(
            self.command,
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def log(self, *, tail: bool = False) -> str:
        """Everything it wrote so far."""
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return text[-LOG_TAIL_CHARACTERS:] if tail else text

    # Its callers

    def client(self, endpoint: str, **options: Any) -> HubClient:
        """A client with the token of an endpoint; "" for nobody's."""
        if not endpoint:
            return HubClient(self.address, **options)
        return HubClient(self.address, token_file=self._tokens / endpoint, **options)

    def token(self, endpoint: str) -> str:
        return self.token_file(endpoint).read_text()

    def token_file(self, endpoint: str) -> Path:
        return self._tokens / endpoint

    def bus_credentials(self, endpoint: str) -> BusCredentials:
        """What the endpoint's adapter may use on the bus."""
        return BusCredentials.read(self.data / "bus-credentials" / f"{endpoint}.json")

    def bus_address(self) -> BusAddress:
        """The hub's own login, which may read every stream."""
        settings = EmbeddedSettings(self.data)
        return embedded_config.load(settings).address(HUB_USER)

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows of its database, read beside it."""
        return self.database.query(statement, *values)

    def count(self, table: str, condition: str = "1 = 1") -> int:
        """How many rows of its database meet a condition."""
        (row,) = self.query(f"SELECT count(*) FROM {table} WHERE {condition}")
        return int(row[0])

    def resident_bytes(self) -> int:
        """Memory of the hub's process, without its children."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def nats_pid(self) -> int:
        """Its nats-server, as the lock file names it; 0 while it is being started again."""
        words = (self.data / "crossdock.lock").read_text().split()
        return int(words[1]) if len(words) == 2 else 0


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One hub for the session, with master data: make your own numbers, never stop this one."""
    running = RunningHub(tmp_path_factory.mktemp("hub"), deployment()).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


@pytest.fixture(scope="session")
def _lane_numbers() -> Iterator[int]:
    return iter(itertools.count(1))


@pytest.fixture
def lane(_lane_numbers: Iterator[int]) -> Lane:
    """A business unit that no other test of the session uses."""
    number = next(_lane_numbers)
    assert number <= LANES, "raise LANES"
    return Lane(number)


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub of the test's own with one lane, started and with master data, to stop and kill."""
    running = RunningHub(tmp_path / "hub", deployment(1), limits=json.dumps(QUICK_LIMITS)).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


@pytest.fixture
def unstarted_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that the test starts itself."""
    running = RunningHub(tmp_path / "hub")
    yield running
    running.kill()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what the hubs of a failed test wrote."""
    report = yield
    if report.failed:
        for running in _ALIVE:
            if running.log_file.exists():
                report.sections.append((f"hub {running.directory}", running.log(tail=True)))
    return report
