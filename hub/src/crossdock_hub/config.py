"""Settings of a hub process, and every limit it keeps, in one place.

Settings come from CROSSDOCK_* variables; secrets from files that they name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from crossdock.errors import ConfigurationError
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECOND = 1_000_000  # microseconds: the unit of every stored time
_PORT_MAX = 65_535
# Variables of the command line and of what the hub starts, which are no settings of a hub.
_OTHER_VARIABLES = ("ADDRESS", "TOKEN_FILE", "TLS_CA_FILE", "DATA", "NATS_SERVER")


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the hub. Times in seconds, sizes in bytes."""

    # One transaction of the committer.
    batch_commands_max: int = 512
    batch_rounds_max: int = 24
    batch_tries_max: int = 20
    # A long decision lets everybody else have a turn after so long.
    turn_seconds: float = 0.01
    # So does a call with many entries that are put in line, sooner as nobody's answer waits for it.
    intake_turn_seconds: float = 0.002
    # And so long it waits for a moment in which no caller waits or is under way.
    intake_yields_seconds: float = 0.025
    queue_commands_max: int = 20_000
    # A batch takes as much bulk work as is done in so long: whoever calls meanwhile waits for it.
    bulk_batch_seconds: float = 0.01
    # Beside such callers, and so long after one, it takes only as much as is done in this time.
    bulk_beside_seconds: float = 0.002
    bulk_yields_seconds: float = 0.2
    # And so long it waits for callers whose call has come and who are not in line yet.
    bulk_awaits_seconds: float = 0.003
    # gRPC.
    message_bytes_max: int = 4 * 1024 * 1024
    request_bytes_max: int = 1024 * 1024
    # Messages and repeated texts in a request: two bytes each at least, and hundreds in memory.
    request_elements_max: int = 50_000
    # Below what the bus takes, with room for headers and for what a dispatch adds.
    event_bytes_max: int = 3 * 1024 * 1024
    metadata_bytes_max: int = 16 * 1024
    # A hub that is slow lets callers wait: 5,000 of a burst. At 170 calls a second all of them are
    # answered within the 30 s that a client gives a call; the slowest hour measured had 150.
    concurrent_rpcs_max: int = 5000
    # In their requests: what waits is parsed too, and takes some ten times its bytes (9.2 measured
    # with orders of 400 lines).
    concurrent_bytes_max: int = 32 * 1024 * 1024
    # Beside these, calls whose request is still under way: grpc's own limit, without a word of when
    # to come again.
    arriving_rpcs_max: int = 1024
    pending_rpcs_max: int = 20_000
    deadline_seconds_max: float = 60.0
    stream_frames_in_flight_max: int = 4
    stop_grace_seconds: float = 6.0
    health_drain_seconds: float = 1.0
    # The ledger.
    dispatch_seconds: float = 30.0
    # An endpoint that shares its system and was not heard of for so long is sent one at a time, and
    # that seldom: it would keep a slot from the others for as long as a dispatch lasts.
    heard_seconds: float = 20.0
    silent_turn_seconds: float = 300.0
    lease_seconds_default: float = 60.0
    lease_seconds_max: float = 600.0
    lease_margin_seconds: float = 5.0
    # So much longer than its call is the lease that an adapter of the SDK asks for.
    lease_asked_margin_seconds: float = 10.0
    restart_grace_seconds: float = 10.0
    retry_seconds_first: float = 0.5
    retry_seconds_max: float = 30.0
    retry_after_seconds_max: float = 3_600.0
    settle_seconds_default: float = 5.0
    look_up_retry_seconds_max: float = 300.0
    not_found_needed: int = 2
    prerequisite_seconds_default: float = 86_400.0
    key_life_seconds_default: float = 1_800.0
    calls_max_default: int = 10
    # Breakers and pace.
    breaker_failures_needed: int = 5
    breaker_deliveries_needed: int = 3
    # Silence of a call that runs counts after this long, or after so many times what the slowest of
    # the last answered calls of its kind took, if that is longer; how often it is looked for.
    breaker_silence_seconds: float = 6.0
    breaker_patience: float = 1.5
    breaker_answers_kept: int = 10
    breaker_look_seconds: float = 0.5
    breaker_probe_seconds_first: float = 1.0
    breaker_probe_seconds_max: float = 30.0
    # How long calls without an answer count against no delivery while nobody is answered, and too
    # few are asked for the breaker to open: a long weekend. Doubt is a dead letter after it.
    unanswered_seconds_max: float = 259_200.0
    # Times in which an endpoint answered that are kept, each as long as doubt needs to show: more
    # than fit into the time above.
    answered_windows_max: int = 300
    pace_thousandths_min: int = 50
    pace_decrease_seconds: float = 1.0
    pace_recovery_seconds: float = 60.0
    throttle_hold_seconds_max: float = 60.0
    # The store's clock: how fast it follows a wall clock that was set, and what counts as set.
    clock_slew: float = 0.005
    clock_step_seconds: float = 2.0
    # Dispatch.
    concurrency_default: int = 4
    dispatch_slice: int = 200
    # By how much the way from a begin to the vendor may differ; not below the guard of the adapters
    # (`sdk/pacing.py`), or what waits would wait there, begun, instead of at the hub.
    rate_margin_seconds: float = 0.025
    # The shortest time between two looks whether a rate lets work out.
    rate_look_seconds: float = 0.01
    lane_run_max: int = 16
    drain_window_seconds: float = 60.0
    timer_seconds: float = 0.1
    # Of timers that nobody told of: how often the store is read for them.
    timer_look_seconds: float = 30.0
    timer_rows_max: int = 500
    # Relay.
    relay_batch_events: int = 500
    mark_seconds: float = 0.25
    # How much of what is known of the bus one batch writes; one mark always goes.
    mark_rows_max: int = 5_000
    relay_poll_seconds: float = 0.5
    # Until it looks again while another hub's transaction keeps rows back.
    relay_held_seconds: float = 0.05
    relay_retry_seconds_max: float = 1.0
    relay_stop_seconds: float = 2.0
    relay_compare_messages: int = 100
    # What keeps events apart is the fence: beyond this window the server forgets their ids.
    duplicate_window_seconds: float = 120.0
    # Healing of the bus.
    heal_seconds: float = 5.0
    rebuild_pause_seconds: float = 60.0
    # So long before the hub's certificate, or its credentials at NATS, end it says so.
    certificate_warn_days: int = 30
    # How long the answer to a begin waits for the bus to know of it.
    tie_wait_seconds: float = 3.0
    # Stored scans of a parcel, the newest, with which a late one or one of the way back is decided:
    # what the older ones came to, the parcel says.
    parcel_scans_max: int = 500
    # Polls of tracking let go of a parcel that was on its way, after so long without a scan and
    # without a change of its label.
    tracking_poll_limit_days: float = 90.0
    # The same of a return that was not seen moving, as its customer may send it late.
    return_poll_limit_days: float = 180.0
    # The parcels that they have let go of: how long a count is told, and how many labels one looks
    # at.
    silent_count_seconds: float = 300.0
    silent_count_labels_max: int = 50_000
    # Held facts.
    held_drive_max: int = 200
    # Facts that one decision looks at, of all that is waited for that it is asked for.
    held_look_facts_max: int = 500
    held_sweep_keys_max: int = 50
    held_sweep_seconds: float = 5.0
    # What held facts wait for that the leader of several hubs looks at anew each time.
    held_page: int = 200
    # Of unrouted work of other hubs: flows that are told of and wait to be decided, and deliveries
    # that one look at what was not told of goes through.
    unrouted_told_max: int = 5_000
    unrouted_page: int = 200
    # Replays.
    replay_plan_seconds: float = 3_600.0
    replay_events_max: int = 10_000
    # Plans that wait to be made, or are being made: one after another.
    replay_planning_max: int = 20
    # While a plan is made: how long at a time, how long everybody else has then, and how many
    # events are looked for and planned at once.
    replay_plan_turn_seconds: float = 0.005
    replay_plan_pause_seconds: float = 0.005
    replay_find_events: int = 10_000
    replay_plan_events: int = 50
    replay_flow_items_max: int = 1_000
    replay_slice_items: int = 200
    # How often an order is decided anew because some of it differs from its plan.
    replay_rounds_max: int = 20
    replay_rate_default: int = 50
    replay_moving_max: int = 200
    replay_poll_seconds: float = 0.2
    replay_acts_max: int = 200
    # How long a plan stays that nobody started in time, and the items of a replay after its end.
    replay_unstarted_seconds: float = 86_400.0
    replay_items_seconds: float = 2_592_000.0
    replay_clear_seconds: float = 60.0
    # Old events: how often they are looked for, how many at once, the pause between, and how much
    # later than its retention the content of one goes.
    retention_look_seconds: float = 3_600.0
    retention_slice_events: int = 500
    retention_pause_seconds: float = 0.05
    retention_slack_seconds: float = 86_400.0
    # Archive: how often it is looked for what is old enough, how many flows are read at once, and
    # how many of them, and bytes before they are compressed, make a part.
    archive_look_seconds: float = 3_600.0
    archive_page_flows: int = 10
    archive_part_flows: int = 1_000
    archive_part_bytes: int = 64 * 1024 * 1024
    # How long one slice of flows may hold the writer, how many go in one at most, the pause between
    # slices, and how many rows go by their age at once.
    archive_hold_seconds: float = 0.02
    archive_slice_flows_max: int = 50
    archive_pause_seconds: float = 0.05
    archive_prune_rows: int = 500
    # Several hubs on one database: how long a lead lasts without a renewal, how often it is renewed
    # and how often others look whether it has run out; how often a hub looks for what others have
    # committed, and through all held facts and a page of the unrouted work.
    lead_seconds: float = 3.0
    lead_renew_seconds: float = 0.75
    lead_look_seconds: float = 0.25
    # How often such a hub asks the bus whether it is there, without it for how long it offers what
    # it leads to others, and with it for how long it may take what others offer.
    lead_bus_look_seconds: float = 0.5
    lead_bus_seconds: float = 3.0
    lead_bus_steady_seconds: float = 5.0
    elsewhere_look_seconds: float = 1.0
    elsewhere_page_seconds: float = 30.0
    # Hubs among which systems are divided: each holds one seat.
    seats_max: int = 64
    # Reading.
    page_size_default: int = 100
    page_size_max: int = 500
    # Dead letters: looked at in one question, and how long doubt is the hub's own business.
    dead_letters_max: int = 5_000
    dead_letter_unknown_seconds: float = 900.0
    # How often a group is looked for whose letters move while it is acknowledged.
    dead_letter_looks_max: int = 3
    # Dead letters that are settled stay as history: so many of the newest.
    dead_letter_history_max: int = 5_000
    # Deliveries that one question after doubtful postings looks at before it answers.
    postings_examined_max: int = 2_000
    flow_deliveries_max: int = 2_000
    tail_backlog_max: int = 1_000
    tail_queue_max: int = 5_000
    # Where hubs share a database: how often who follows is shown what they have committed.
    tail_look_seconds: float = 0.1
    await_poll_seconds: float = 0.25

    def with_changes(self, changes: Mapping[str, float]) -> Limits:
        """These limits with some changed. ConfigurationError names the first that can't be."""
        kinds = {each.name: type(getattr(self, each.name)) for each in fields(self)}
        changed: dict[str, int | float] = {}
        for name, value in changes.items():
            kind = kinds.get(name)
            if kind is None:
                raise ConfigurationError(f"CROSSDOCK_LIMITS: there is no limit {name}")
            if not 0 <= value < math.inf or kind(value) != value:
                what = "a whole number" if kind is int else "a number"
                raise ConfigurationError(f"CROSSDOCK_LIMITS: {name} must be {what} from 0 up")
            changed[name] = kind(value)
        return replace(self, **changed)  # type: ignore[arg-type]


class Settings(BaseSettings):
    """What a hub needs to know to start; each is the variable CROSSDOCK_ and its name.

    data_directory: SQLite file, embedded NATS, locks. database_url: SQLAlchemy URL; empty:
    SQLite in data_directory. database_password_file: what its user proves itself with to
    PostgreSQL. database_ca_file: PEM of who signs the certificate of that server. shared_database:
    other hubs work on it too, each started with this. divide_systems: each of them leads some
    systems, each started with this. advertise: host:port at which they reach this
    one; "": as listen says. hubs_ca_file: PEM of who signs their certificates; unset: who the
    system trusts. listen: address of the gRPC server; port 0: any free one. share_port: other hubs
    of the database on this machine listen there too, each started with this; they reach this one
    at a port of its own, that of advertise or a free one. endpoints_file: who may call, see
    identity.py. tls_*_file: PEM chain and key; unset: plaintext, on loopback only unless
    allow_plaintext says that a proxy ends TLS. nats_url: "" runs the embedded server.
    nats_credentials_file: a .creds file, an nkey seed, or JSON with user and password.
    nats_ca_file: PEM of who signs the certificate of a tls:// server; unset: who the system
    trusts. nats_replicas: copies of each stream, on as many nodes of a cluster at nats_url; 1,
    3 or 5. nats_port: of the embedded server; 0: any free one, kept over restarts.
    address_file: where the hub writes its addresses once it serves. reflection: gRPC
    reflection, for callers with a token; on in `crossdock dev`. metrics_host, metrics_port:
    Prometheus; port 0: any; unset: none. event_hot_hours: how long the bus keeps events.
    retention_days: how long events of a type are kept, by full name, instead of what the contract
    says. tracking_poll_limit_days: after how long without news of a parcel carriers are no longer
    asked about it; return_poll_limit_days: the same of a return that was not seen moving, as its
    customer may send it late; not less than the former. archive_days: after how many days without
    a change finished flows are archived, by kind of their root object, and other rows go;
    archive_directory: where to; unset: archive/ in data_directory. require_deadline: refuse calls
    without one. trace_sample_ratio: share of
    traces recorded. limits: limits that differ from their defaults, as JSON; for drills that must
    not wait, not for production.
    """

    # A variable that is there and empty, as in a file of them, is one that is not set: as a path it
    # would be the working directory.
    model_config = SettingsConfigDict(
        env_prefix="CROSSDOCK_", extra="ignore", env_ignore_empty=True
    )

    data_directory: Path = Path("data")
    database_url: str = ""
    database_password_file: Path | None = None
    database_ca_file: Path | None = None
    shared_database: bool = False
    divide_systems: bool = False
    advertise: str = ""
    hubs_ca_file: Path | None = None
    listen: str = "127.0.0.1:7443"
    share_port: bool = False
    endpoints_file: Path = Path("endpoints.json")
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    allow_plaintext: bool = False
    nats_url: str = ""
    nats_credentials_file: Path | None = None
    nats_ca_file: Path | None = None
    nats_replicas: int = 1
    nats_port: int = Field(default=0, ge=0, le=_PORT_MAX)
    address_file: Path | None = None
    reflection: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(default=None, ge=0, le=_PORT_MAX)
    event_hot_hours: float = 72.0
    retention_days: dict[str, float] = {}
    tracking_poll_limit_days: float = Field(default=90.0, gt=0.0)
    return_poll_limit_days: float = Field(default=180.0, gt=0.0)
    archive_days: dict[str, float] = {}
    archive_directory: Path | None = None
    require_deadline: bool = True
    trace_sample_ratio: float = Field(default=0.05, ge=0.0, le=1.0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    limits: dict[str, float] = {}

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_small_letters(cls, level: Any) -> Any:
        return level.lower() if isinstance(level, str) else level


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """CROSSDOCK_ variables that no setting has, each with the one that may be meant, or ""."""
    known = [f"CROSSDOCK_{name.upper()}" for name in (*Settings.model_fields, *_OTHER_VARIABLES)]
    strange = sorted(
        each for each in environ if each.startswith("CROSSDOCK_") and each not in known
    )
    return [(each, next(iter(get_close_matches(each, known, 1, 0.8)), "")) for each in strange]


def limits_of(settings: Settings) -> Limits:
    """The limits of a hub with these settings. Raises ConfigurationError."""
    names = ("tracking_poll_limit_days", "return_poll_limit_days")
    days = {name: getattr(settings, name) for name in names}
    return Limits().with_changes(days | settings.limits)


def archive_of(settings: Settings) -> Path:
    """Where a hub with these settings keeps its archive."""
    return settings.archive_directory or settings.data_directory / "archive"
