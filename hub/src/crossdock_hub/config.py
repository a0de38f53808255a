"""Settings of a hub process, and every limit it keeps, in one place.

Settings come from CROSSDOCK_* variables; secrets from files that they name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SECOND = 1_000_000  # microseconds: the unit of every stored time


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the hub. Times in seconds, sizes in bytes."""

    # One transaction of the committer.
    batch_commands_max: int = 512
    batch_rounds_max: int = 12
    batch_keys_per_read_max: int = 500
    queue_commands_max: int = 20_000
    bulk_slice_items: int = 500
    # gRPC.
    message_bytes_max: int = 4 * 1024 * 1024
    request_bytes_max: int = 1024 * 1024
    metadata_bytes_max: int = 16 * 1024
    concurrent_rpcs_max: int = 1024
    deadline_seconds_max: float = 60.0
    stream_frames_in_flight_max: int = 4
    stop_grace_seconds: float = 8.0
    health_drain_seconds: float = 1.0
    # The ledger.
    dispatch_seconds: float = 30.0
    lease_seconds_default: float = 60.0
    lease_seconds_max: float = 600.0
    lease_margin_seconds: float = 5.0
    restart_grace_seconds: float = 10.0
    retry_seconds_first: float = 0.5
    retry_seconds_max: float = 30.0
    settle_seconds_default: float = 5.0
    look_up_retry_seconds_max: float = 300.0
    not_found_needed: int = 2
    prerequisite_seconds_default: float = 86_400.0
    key_life_seconds_default: float = 1_800.0
    calls_max_default: int = 10
    excerpt_characters_max: int = 4096
    # Dispatch.
    concurrency_default: int = 4
    dispatch_slice: int = 200
    timer_seconds: float = 0.05
    timer_rows_max: int = 500
    # Relay.
    relay_batch_events: int = 500
    relay_poll_seconds: float = 0.5
    relay_retry_seconds_max: float = 5.0
    # Held facts.
    held_drive_max: int = 200
    held_sweep_seconds: float = 5.0
    # Reading.
    page_size_default: int = 100
    page_size_max: int = 500
    flow_deliveries_max: int = 2_000
    tail_backlog_max: int = 1_000
    tail_queue_max: int = 5_000
    await_poll_seconds: float = 0.25


class Settings(BaseSettings):
    """What a hub needs to know to start."""

    model_config = SettingsConfigDict(env_prefix="CROSSDOCK_", extra="ignore")

    data_directory: Path = Field(Path("data"), description="SQLite file, embedded NATS, locks")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_directory")
    listen: str = Field("127.0.0.1:7443", description="address of the gRPC server; port 0: any")
    endpoints_file: Path = Field(Path("endpoints.json"), description="who may call, see identity")
    tls_certificate_file: Path | None = Field(None, description="PEM chain; unset: plaintext")
    tls_key_file: Path | None = Field(None, description="PEM key of the certificate")
    allow_plaintext: bool = Field(False, description="plaintext off loopback, behind a TLS proxy")
    nats_url: str = Field("", description="nats://host:port; empty: embedded server")
    nats_credentials_file: Path | None = Field(None, description="user and password, or nkey seed")
    nats_port: int = Field(0, description="port of the embedded server; 0: any free one, kept")
    address_file: Path | None = Field(None, description="where the hub writes its addresses")
    reflection: bool = Field(False, description="gRPC reflection; on in `crossdock dev`")
    metrics_port: int | None = Field(None, description="Prometheus metrics on loopback; 0: any")
    event_hot_hours: float = Field(72.0, description="how long the bus keeps events")
    require_deadline: bool = Field(True, description="refuse calls without a deadline")
    trace_sample_ratio: float = Field(0.05, ge=0.0, le=1.0, description="share of traces kept")
    log_level: str = Field("info", description="debug, info, warning or error")
