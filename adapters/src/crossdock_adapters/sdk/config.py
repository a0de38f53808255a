"""The configuration files of the two processes: adapters and sandboxes. TOML, checked at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossdock.client import Tls

from crossdock_adapters.sdk.plaintext import plaintext_problem
from crossdock_adapters.sdk.sandbox import SandboxConfig

DEFAULT_HOST = "127.0.0.1"
# Instead of a file of authorities: those that the system trusts.
SYSTEM = "system"
# As the contract has it (Manifest.system).
SYSTEM_CHARACTERS_MAX = 64
MAX_PORT = 65_535
DAY_SECONDS = 86_400


class ConfigError(ValueError):
    """A configuration file is wrong; the text lists every problem with its place."""


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """`[endpoints.<id>]`: one endpoint hosted by this process.

    `concurrency` may lower what the manifest allows, for this process. `system` names what stands
    behind it: endpoints that name the same share its calls at once and per second, so two accounts
    or installations of one vendor want a name each; "": the manifest's. `webhook_port` 0 takes
    a free port; unset, an adapter with webhooks is refused. `settle_after_seconds`, by operation,
    is what was measured with one's own account, in place of the manifest's.
    """

    id: str
    adapter: str
    token_file: Path
    credentials_file: Path | None = None
    webhook_host: str = DEFAULT_HOST
    webhook_port: int | None = None
    concurrency: int | None = None
    system: str = ""
    allow_plaintext: bool = False
    settle_after_seconds: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AdaptersConfig:
    """The file of `run`."""

    hub_address: str
    bus_url: str
    bus_credentials_file: Path | None
    metrics_host: str
    metrics_port: int | None
    ready_file: Path | None
    endpoints: Mapping[str, EndpointConfig]
    allow_plaintext_token: bool = False
    hub_ca_file: str = ""
    bus_ca_file: Path | None = None

    @property
    def hub_tls(self) -> Tls | None:
        """How to speak TLS to the hub; None: in plain text."""
        if not self.hub_ca_file:
            return None
        return Tls(ca_file=None if self.hub_ca_file == SYSTEM else Path(self.hub_ca_file))


@dataclass(frozen=True, slots=True)
class SandboxesConfig:
    """The file of `sandbox`: which adapter's sandbox runs under which name."""

    ready_file: Path | None
    sandboxes: Mapping[str, tuple[str, SandboxConfig]]


def load_adapters(path: Path) -> AdaptersConfig:
    """Read the configuration of the adapters process. ConfigError lists all problems."""
    table = _Table(_read(path), str(path))
    hub, bus = table.table("hub"), table.table("bus")
    metrics, process = table.table("metrics"), table.table("process")
    config = AdaptersConfig(
        hub_address=hub.text("address"),
        allow_plaintext_token=hub.flag("allow_plaintext_token"),
        bus_url=bus.text("url"),
        hub_ca_file=str(hub.path("tls_ca_file") or ""),
        bus_credentials_file=bus.path("credentials_file"),
        bus_ca_file=bus.path("tls_ca_file"),
        metrics_host=metrics.text("host", DEFAULT_HOST),
        metrics_port=metrics.port("port"),
        ready_file=process.path("ready_file"),
        endpoints={
            name: _endpoint(name, entry) for name, entry in table.tables("endpoints").items()
        },
    )
    if not bus.flag("allow_plaintext"):
        table.problems += filter(None, [plaintext_problem("[bus] url", config.bus_url)])
    for part in (hub, bus, metrics, process):
        part.done()
    table.done()
    if not config.endpoints:
        table.problems.append("endpoints: name at least one")
    table.check()
    return config


def load_sandboxes(path: Path) -> SandboxesConfig:
    """Read the configuration of the sandboxes process. ConfigError lists all problems."""
    table = _Table(_read(path), str(path))
    process = table.table("process")
    config = SandboxesConfig(
        ready_file=process.path("ready_file"),
        sandboxes={
            name: _sandbox(name, entry) for name, entry in table.tables("sandboxes").items()
        },
    )
    process.done()
    table.done()
    if not config.sandboxes:
        table.problems.append("sandboxes: name at least one")
    table.check()
    return config


def _endpoint(name: str, entry: _Table) -> EndpointConfig:
    settle = entry.table("settle_after_seconds")
    config = EndpointConfig(
        id=name,
        adapter=entry.text("adapter", name),
        token_file=entry.path("token_file", required=True) or Path(),
        credentials_file=entry.path("credentials_file"),
        webhook_host=entry.text("webhook_host", DEFAULT_HOST),
        webhook_port=entry.port("webhook_port"),
        concurrency=entry.integer("concurrency"),
        system=entry.word("system", SYSTEM_CHARACTERS_MAX),
        allow_plaintext=entry.flag("allow_plaintext"),
        settle_after_seconds=settle.all_seconds(),
        settings=entry.raw("settings"),
    )
    entry.done()
    return config


def _sandbox(name: str, entry: _Table) -> tuple[str, SandboxConfig]:
    adapter = entry.text("adapter", name)
    config = SandboxConfig(
        name=name,
        host=entry.text("host", DEFAULT_HOST),
        vendor_port=entry.port("vendor_port") or 0,
        control_port=entry.port("control_port") or 0,
        seed=entry.integer("seed") or 1,
        tick_seconds=entry.seconds("tick_seconds", 0.05),
        settings=entry.raw("settings"),
        state_file=entry.path("state_file"),
    )
    entry.done()
    return adapter, config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


class _Table:
    """A table that notes every key read, so that a misspelt one is found."""

    def __init__(
        self, data: Mapping[str, Any], where: str, problems: list[str] | None = None
    ) -> None:
        self._data = data
        self._where = where
        self._read: set[str] = set()
        self.problems: list[str] = [] if problems is None else problems

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or not value:
            self._wrong(key, "must be text")
            return ""
        return value

    def word(self, key: str, most_characters: int) -> str:
        """Some text of at most so many characters; "" where the key is not there."""
        value = self._get(key, "")
        if not isinstance(value, str) or len(value) > most_characters:
            self._wrong(key, f"must be text of at most {most_characters} characters")
            return ""
        return value

    def path(self, key: str, *, required: bool = False) -> Path | None:
        value = self._get(key, None)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not value:
            self._wrong(key, "must be a path")
            return None
        return Path(value)

    def flag(self, key: str) -> bool:
        value = self._get(key, False)
        if not isinstance(value, bool):
            self._wrong(key, "must be true or false")
        return value is True

    def integer(self, key: str) -> int | None:
        value = self._get(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._wrong(key, "must be a whole number")
            return None
        return value

    def port(self, key: str) -> int | None:
        value = self.integer(key)
        if value is not None and value > MAX_PORT:
            self._wrong(key, "must be a port")
        return value

    def seconds(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            self._wrong(key, "must be seconds")
            return default
        return float(value)

    def all_seconds(self) -> dict[str, float]:
        """Every key with its seconds, above zero and at most a day."""
        found = {key: self.seconds(key, 0.0) for key in self._data}
        for key, seconds in found.items():
            if not 0 < seconds <= DAY_SECONDS:
                self._wrong(key, f"must be more than 0 and at most {DAY_SECONDS} seconds")
        return found

    def raw(self, key: str) -> dict[str, Any]:
        value = self._get(key, {})
        if not isinstance(value, dict):
            self._wrong(key, "must be a table")
            return {}
        return value

    def table(self, key: str) -> _Table:
        return _Table(self.raw(key), f"{self._where} {key}", self.problems)

    def tables(self, key: str) -> dict[str, _Table]:
        found: dict[str, _Table] = {}
        for name, value in self.raw(key).items():
            if isinstance(value, dict):
                found[name] = _Table(value, f"{self._where} {key}.{name}", self.problems)
            else:
                self._wrong(f"{key}.{name}", "must be a table")
        return found

    def done(self) -> None:
        for key in self._data:
            if key not in self._read:
                self._wrong(key, "is not known here")

    def check(self) -> None:
        if self.problems:
            raise ConfigError("; ".join(self.problems))

    def _get(self, key: str, default: Any) -> Any:
        self._read.add(key)
        return self._data.get(key, default)

    def _wrong(self, key: str, what: str) -> None:
        self.problems.append(f"{self._where}: {key} {what}")
