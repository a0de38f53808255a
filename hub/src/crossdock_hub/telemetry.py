"""Metrics of a hub, and the sampling of its traces. No ids in labels."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

import crossdock
from crossdock.errors import ConfigurationError
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from crossdock_hub import expiring
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.expiring import Expiries
from crossdock_hub.reading import endpoint_metrics, parcel_metrics
from crossdock_hub.reading.endpoint_metrics import Books
from crossdock_hub.reading.parcel_metrics import SilentParcels
from crossdock_hub.taken import AddressTaken

# Counter -> (metric, help, labels), by the first word of what units count.
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "delivery": (
        "crossdock_delivery_states",
        "Deliveries that entered a state.",
        ("endpoint", "event", "state"),
    ),
    "unrouted": ("crossdock_unrouted", "Required targets nobody serves.", ("role", "operation")),
    "refused": ("crossdock_refusals", "Commands refused.", ("endpoint", "reason")),
    "duplicate": ("crossdock_duplicates_suppressed", "Facts known already.", ("kind",)),
    "unmapped": ("crossdock_unmapped_codes", "Scans whose code nobody mapped.", ("carrier",)),
    "unmapped_fact": (
        "crossdock_unmapped_facts",
        "Facts quarantined because a code has no row; which codes: crossdock map coverage.",
        ("endpoint", "topic"),
    ),
    "held": ("crossdock_held_facts", "Facts held.", ("endpoint", "reason")),
    "driven": ("crossdock_driven_facts", "Held facts written since.", ("endpoint",)),
    "breaker": (
        "crossdock_breaker_changes",
        "Breakers that opened or closed.",
        ("endpoint", "state"),
    ),
    "answered": (
        "crossdock_endpoint_answers",
        "Attempts that the vendor answered, if only with a no.",
        ("endpoint",),
    ),
    "spending": (
        "crossdock_spending_stopped",
        "Deliveries that the spending guard stopped.",
        ("endpoint", "operation"),
    ),
    "vendor_duplicate": (
        "crossdock_vendor_duplicates",
        "Deliveries that a vendor holds more than once.",
        ("endpoint", "operation"),
    ),
    "replay": (
        "crossdock_replay_items",
        "Items of replays that were decided.",
        ("endpoint", "verdict"),
    ),
    "quarantined": (
        "crossdock_quarantined_facts",
        "Facts refused in a completion.",
        ("endpoint", "reason"),
    ),
}


def default_sampling(ratio: float) -> None:
    """Sample traces unless the standard variables say otherwise."""
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    os.environ.setdefault("OTEL_TRACES_SAMPLER_ARG", str(ratio))


class Metrics(Collector):
    """Counts what commits say; gauges are read when somebody asks."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._events: dict[tuple[str, str], int] = {}
        self._batches = 0
        self._purged = 0
        self._archived = 0
        self._started = time.time()
        self._relay: Any = None
        self._picker: Picker | None = None
        self._committer: Committer | None = None
        self._books: Books | None = None
        self._silent: SilentParcels | None = None
        self._expiries: Expiries | None = None

    def watch_expiries(self, expiries: Expiries) -> None:
        """What the gauge of certificates is read from."""
        self._expiries = expiries

    def watch_office(self, relay: Any = None, silent: SilentParcels | None = None) -> None:
        """What the gauges of what one hub does are read from; None: another one does it."""
        self._relay, self._silent = relay, silent

    def watch_endpoints(
        self, committer: Committer, picker: Picker | None = None, books: Books | None = None
    ) -> None:
        """What the gauges of the endpoints that this hub leads are read from; None: of none."""
        self._committer, self._picker, self._books = committer, picker, books

    def committed(self, batch: Committed) -> None:
        """Add up what a batch counted."""
        self._batches += 1
        for name, count in batch.changes.counters.items():
            self._counts[name] = self._counts.get(name, 0) + count
        for event in batch.changes.events:
            key = (event.stem, event.producer)
            self._events[key] = self._events.get(key, 0) + 1

    def serve(self, host: str, port: int | None) -> int | None:
        """Serve Prometheus metrics. Returns the port; None: not wanted. ConfigurationError: the
        address can't be bound; AddressTaken: another process has it."""
        if port is None:
            return None
        registry = CollectorRegistry()
        registry.register(self)
        try:
            server, _thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else type(error).__name__
            kind = AddressTaken if error.errno == errno.EADDRINUSE else ConfigurationError
            raise kind(
                f"metrics can't be served at {host}:{port} ({why}); set CROSSDOCK_METRICS_HOST and "
                "CROSSDOCK_METRICS_PORT, or port 0 for any"
            ) from None
        return int(server.server_port)

    def purged(self, count: int) -> None:
        """Events let their content go."""
        self._purged += count

    def archived(self, count: int) -> None:
        """Finished flows left the database."""
        self._archived += count

    def collect(self) -> Any:
        """Every metric, when scraped."""
        info = GaugeMetricFamily("crossdock_build_info", "Version.", labels=["version"])
        info.add_metric([crossdock.__version__], 1)
        yield info
        yield CounterMetricFamily("crossdock_batches", "Transactions.", value=self._batches)
        yield CounterMetricFamily(
            "crossdock_events_purged", "Events past their retention.", value=self._purged
        )
        yield CounterMetricFamily(
            "crossdock_flows_archived", "Finished flows archived.", value=self._archived
        )
        events = CounterMetricFamily(
            "crossdock_events_recorded", "Events recorded.", labels=["event", "source"]
        )
        for pair, count in sorted(self._events.items()):
            events.add_metric(list(pair), count)
        yield events
        for word, (name, text, labels) in COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=list(labels))
            for key, count in sorted(self._counts.items()):
                if key[0] == word:
                    family.add_metric([str(part) for part in key[1:]], count)
            yield family
        yield from self._gauges()
        yield from endpoint_metrics.gauges(self._books)
        yield parcel_metrics.gauge(self._silent)
        yield expiring.gauge(self._expiries)

    def _gauges(self) -> Any:
        yield GaugeMetricFamily(
            "crossdock_hub_leads",
            "Whether this hub does what only one hub of a database may.",
            value=float(self._relay is not None),
        )
        if self._relay is not None:
            yield CounterMetricFamily(
                "crossdock_events_published", "Messages stored by the bus.", self._relay.published
            )
        if self._committer is None or self._picker is None:
            return
        used = GaugeMetricFamily(
            "crossdock_endpoint_budget_used_ratio", "Slots in use.", labels=["endpoint"]
        )
        for endpoint in self._committer.endpoints:
            if not self._committer.leads_endpoint(endpoint.id):
                continue
            ratio = self._picker.in_use(endpoint.id) / max(1, endpoint.max_concurrency)
            used.add_metric([endpoint.id], ratio)
        yield used
