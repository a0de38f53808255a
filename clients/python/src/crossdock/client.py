"""HubClient: one channel to the hub with identity, deadlines, safe retries, trace context, errors.

    async with HubClient("127.0.0.1:7443", token_file="dev/tokens/oms") as hub:
        answer = await hub.orders.GetOrder(GetOrderRequest(number="ORD-1"))

Every method of the contract is a typed, awaitable method of a stub: `hub.orders.CreateOrder`. What
goes wrong is raised as a class of `crossdock.errors`, never as a grpc exception.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import grpc
from google.protobuf import descriptor_pb2
from grpc import aio

import crossdock
from crossdock.calling import Deadlines, HubChannel, stream_interceptors
from crossdock.carrier.v1 import carrier_service_pb2, carrier_service_pb2_grpc
from crossdock.confirmation.v1 import confirmation_service_pb2, confirmation_service_pb2_grpc
from crossdock.customer.v1 import customer_service_pb2, customer_service_pb2_grpc
from crossdock.dead_letter.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc
from crossdock.delivery.v1 import (
    delivery_operations_service_pb2,
    delivery_operations_service_pb2_grpc,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
)
from crossdock.endpoint.v1 import endpoint_service_pb2, endpoint_service_pb2_grpc
from crossdock.errors import ConfigurationError
from crossdock.freight.v1 import freight_service_pb2, freight_service_pb2_grpc
from crossdock.fulfillment.v1 import fulfillment_service_pb2, fulfillment_service_pb2_grpc
from crossdock.hub.v1 import hub_service_pb2, hub_service_pb2_grpc
from crossdock.inventory.v1 import inventory_service_pb2, inventory_service_pb2_grpc
from crossdock.item.v1 import item_service_pb2, item_service_pb2_grpc
from crossdock.label.v1 import label_service_pb2, label_service_pb2_grpc
from crossdock.lineage.v1 import lineage_service_pb2, lineage_service_pb2_grpc
from crossdock.location.v1 import location_service_pb2, location_service_pb2_grpc
from crossdock.mapping.v1 import mapping_service_pb2, mapping_service_pb2_grpc
from crossdock.order.v1 import order_service_pb2, order_service_pb2_grpc
from crossdock.replay.v1 import replay_service_pb2, replay_service_pb2_grpc
from crossdock.request_ids import new_request_id, request_id
from crossdock.returns.v1 import return_service_pb2, return_service_pb2_grpc
from crossdock.shipment.v1 import shipment_service_pb2, shipment_service_pb2_grpc
from crossdock.tracking.v1 import tracking_service_pb2, tracking_service_pb2_grpc
from crossdock.unit.v1 import unit_service_pb2, unit_service_pb2_grpc

__all__ = ["HubClient", "Tls", "new_request_id", "request_id"]

# As long as a hub may be busy with what came before a call: who gives up sooner does not know
# whether it took effect, and asks the busy hub once more.
DEFAULT_DEADLINE_SECONDS: Final = 30.0
DEFAULT_STREAM_DEADLINE_SECONDS: Final = 3600.0
MAXIMUM_REQUEST_BYTES: Final = 1 << 20
MAXIMUM_RESPONSE_BYTES: Final = 4 << 20
MAXIMUM_METADATA_BYTES: Final = 16 << 10
KEEPALIVE_MILLISECONDS: Final = 30_000
KEEPALIVE_TIMEOUT_MILLISECONDS: Final = 10_000
# Left to itself a channel waits up to two minutes before it tries a hub again that was away.
FIRST_RECONNECT_MILLISECONDS: Final = 100
MAXIMUM_RECONNECT_MILLISECONDS: Final = 2_000
RETRY_ATTEMPTS: Final = 4
TOKEN_CHECK_SECONDS: Final = 5.0

_SERVICE_FILES: Final = (
    carrier_service_pb2,
    confirmation_service_pb2,
    customer_service_pb2,
    dead_letter_service_pb2,
    delivery_operations_service_pb2,
    delivery_service_pb2,
    endpoint_service_pb2,
    freight_service_pb2,
    fulfillment_service_pb2,
    hub_service_pb2,
    inventory_service_pb2,
    item_service_pb2,
    label_service_pb2,
    lineage_service_pb2,
    location_service_pb2,
    mapping_service_pb2,
    order_service_pb2,
    replay_service_pb2,
    return_service_pb2,
    shipment_service_pb2,
    tracking_service_pb2,
    unit_service_pb2,
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS to the hub: PEM files. Without ca_file the system's authorities count."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""


class HubClient:
    """A connection to one hub. Open it with `async with`, or `close()` it.

    Without a token only health is answered. Unary calls get `deadline_seconds` and streams
    `stream_deadline_seconds` where the call names no timeout. Calls that the contract declares
    idempotent are repeated by gRPC while the hub is UNAVAILABLE, within their deadline. So are, by
    this client, unary calls that the hub had no room for (HUB_OVERLOADED), when it says and later
    each time; TryAgainError is raised when too little would be left, or at once where `come_again`
    is False.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: Path | str | None = None,
        tls: Tls | None = None,
        allow_plaintext_token: bool = False,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        stream_deadline_seconds: float = DEFAULT_STREAM_DEADLINE_SECONDS,
        trace: bool = True,
        come_again: bool = True,
    ) -> None:
        """Sets the channel up; it connects at the first call.

        address: "host:port" or "unix:/path". token_file: read again when it changes. trace: carry
        the OpenTelemetry context, when its gRPC instrumentation is installed. ConfigurationError: a
        token would cross a network in plain text, or there is none where one was promised.
        """
        tokens = _Tokens(token, Path(token_file) if token_file is not None else None)
        if tokens.present and tls is None and not allow_plaintext_token:
            _check_local(address)
        limits = Deadlines(deadline_seconds, stream_deadline_seconds)
        self.address = address
        self._calls = _hub_channel(address, tls, tokens, limits, trace, come_again)
        channel = self.channel = cast("aio.Channel", self._calls)
        self.carriers = carrier_service_pb2_grpc.CarrierServiceStub(channel)
        self.confirmations = confirmation_service_pb2_grpc.ConfirmationServiceStub(channel)
        self.customers = customer_service_pb2_grpc.CustomerServiceStub(channel)
        self.dead_letters = dead_letter_service_pb2_grpc.DeadLetterServiceStub(channel)
        self.deliveries = delivery_service_pb2_grpc.DeliveryServiceStub(channel)
        operations = delivery_operations_service_pb2_grpc.DeliveryOperationsServiceStub(channel)
        self.delivery_operations = operations
        self.endpoints = endpoint_service_pb2_grpc.EndpointServiceStub(channel)
        self.freight = freight_service_pb2_grpc.FreightServiceStub(channel)
        self.fulfillments = fulfillment_service_pb2_grpc.FulfillmentServiceStub(channel)
        self.hub = hub_service_pb2_grpc.HubServiceStub(channel)
        self.inventory = inventory_service_pb2_grpc.InventoryServiceStub(channel)
        self.items = item_service_pb2_grpc.ItemServiceStub(channel)
        self.labels = label_service_pb2_grpc.LabelServiceStub(channel)
        self.lineage = lineage_service_pb2_grpc.LineageServiceStub(channel)
        self.locations = location_service_pb2_grpc.LocationServiceStub(channel)
        self.mappings = mapping_service_pb2_grpc.MappingServiceStub(channel)
        self.orders = order_service_pb2_grpc.OrderServiceStub(channel)
        self.replays = replay_service_pb2_grpc.ReplayServiceStub(channel)
        self.returns = return_service_pb2_grpc.ReturnServiceStub(channel)
        self.shipments = shipment_service_pb2_grpc.ShipmentServiceStub(channel)
        self.tracking = tracking_service_pb2_grpc.TrackingServiceStub(channel)
        self.units = unit_service_pb2_grpc.UnitServiceStub(channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, grace_seconds: float = 1.0) -> None:
        """Ends the channel; calls still running get `grace_seconds`."""
        await self.channel.close(grace_seconds)

    @property
    def calls_turned_away(self) -> int:
        """How many unary calls the hub had no room for so far, each time counted."""
        return self._calls.calls_turned_away

    async def wait_until_connected(self) -> None:
        """Returns once a connection stands; wrap it in asyncio.timeout."""
        await self.channel.channel_ready()


# Channel


def _check_local(address: str) -> None:
    """Raises ConfigurationError where a token in plain text would leave this machine."""
    if not _is_local(address):
        raise ConfigurationError(
            f"the token would travel to {address} in plain text; give tls=Tls(…), or "
            "allow_plaintext_token=True where the network itself is encrypted"
        )


def _hub_channel(
    address: str, tls: Tls | None, tokens: _Tokens, limits: Deadlines, trace: bool, come_again: bool
) -> HubChannel:
    """The channel that stubs are made of: what it makes says who calls, and raises our errors."""
    streams = stream_interceptors(tokens.metadata, limits, trace=trace)
    opened = _channel(address, tls, streams)
    return HubChannel(opened, tokens.metadata, limits, trace=trace, come_again=come_again)


def _channel(
    address: str, tls: Tls | None, interceptors: Sequence[aio.ClientInterceptor]
) -> aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", FIRST_RECONNECT_MILLISECONDS),
        ("grpc.max_reconnect_backoff_ms", MAXIMUM_RECONNECT_MILLISECONDS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_send_message_length", MAXIMUM_REQUEST_BYTES),
        ("grpc.max_receive_message_length", MAXIMUM_RESPONSE_BYTES),
        ("grpc.max_metadata_size", MAXIMUM_METADATA_BYTES),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", _service_config()),
        ("grpc.primary_user_agent", f"crossdock-python/{crossdock.__version__}"),
    ]
    if tls is None:
        return aio.insecure_channel(address, options=options, interceptors=interceptors)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_bytes(tls.ca_file),
        private_key=_bytes(tls.key_file),
        certificate_chain=_bytes(tls.certificate_file),
    )
    return aio.secure_channel(address, credentials, options=options, interceptors=interceptors)


def _bytes(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error


def _service_config() -> str:
    """Retries for the methods that the contract calls idempotent, and for no other."""
    policy = {
        "maxAttempts": RETRY_ATTEMPTS,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        # A stopping server cancels calls that no handler has taken yet.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    names = [{"service": service, "method": method} for service, method in idempotent_methods()]
    throttling = {"maxTokens": 100, "tokenRatio": 0.1}
    config = {
        "methodConfig": [{"name": names, "retryPolicy": policy}],
        "retryThrottling": throttling,
    }
    return json.dumps(config)


def idempotent_methods() -> list[tuple[str, str]]:
    """(service, method) of every unary method that may be repeated after a broken connection."""
    unknown = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    return [
        (service.full_name, method.name)
        for file in _SERVICE_FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming
        and not method.server_streaming
        and cast("Any", method.GetOptions()).idempotency_level != unknown
    ]


def _is_local(address: str) -> bool:
    """True for addresses that never leave the machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    target = address.rsplit("///", 1)[-1]
    host = target.rsplit(":", 1)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# Identity


class _Tokens:
    """The bearer token, from a string or from a file that may be replaced while we run."""

    def __init__(self, token: str | None, file: Path | None) -> None:
        if token is not None and file is not None:
            raise ConfigurationError("give token or token_file, not both")
        self._file = file
        self._modified = 0.0
        self._checked = 0.0
        self._metadata: tuple[str, str] | None = None
        if token is not None:
            self._metadata = _authorization(token, "token")
        if file is not None:
            self._read(file)

    @property
    def present(self) -> bool:
        return self._metadata is not None

    def metadata(self) -> tuple[str, str] | None:
        now = time.monotonic()
        if self._file is not None and now - self._checked >= TOKEN_CHECK_SECONDS:
            self._checked = now
            try:
                if self._file.stat().st_mtime != self._modified:
                    self._read(self._file)
            except (OSError, ConfigurationError):
                pass  # A token that is just being replaced: the old one serves until then.
        return self._metadata

    def _read(self, file: Path) -> None:
        try:
            self._modified = file.stat().st_mtime
            text = file.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the token in {file}") from error
        self._checked = time.monotonic()
        self._metadata = _authorization(text, str(file))


def _authorization(token: str, source: str) -> tuple[str, str]:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{source} holds no token: one line of printable ASCII is needed")
    return "authorization", f"Bearer {token}"
