"""Who tells the defaults of a kind, and which version of them holds."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock_hub.identity import Caller
from crossdock_hub.objects.mapping_kinds import VERSIONS_MAX
from crossdock_hub.unit import Refused
from decisions import CARRIER, outcome
from first_flow import Flow
from test_mappings import SERVICE, STATUS, coded, file, native, publish


def test_an_older_file_does_not_come_back() -> None:
    """Proves that an adapter of before an upgrade, which starts once more, takes no rows of the
    newer file away and is told which version holds; and that an operator's word lets it."""
    flow = Flow()
    publish(flow, "1", AR="IN_TRANSIT")
    publish(flow, "2", AR="IN_TRANSIT", XX="DELIVERED")
    old = file("1", AR="IN_TRANSIT")
    answer = flow.call(f"{SERVICE}/PublishDefaultMappings", old, CARRIER)
    assert (answer.changed, answer.newer_version) == (0, "2")
    flow.labelled()
    assert [outcome(r) for r in flow.report(coded(flow.now, "XX"))] == ["APPLIED"]
    back = replace(CARRIER, older_defaults=frozenset({"1"}))
    answer = flow.call(f"{SERVICE}/PublishDefaultMappings", file("1", AR="IN_TRANSIT"), back)
    assert (answer.changed, answer.newer_version) == (1, "")
    # From then on the other one is the older.
    answer = flow.call(f"{SERVICE}/PublishDefaultMappings", file("2", XX="DELIVERED"), CARRIER)
    assert (answer.changed, answer.newer_version) == (0, "1")
    assert publish(flow, "3", AR="IN_TRANSIT", XX="DELIVERED") == 1


def test_how_many_versions_are_known_has_a_bound() -> None:
    """Proves that years of upgrades do not let the row of a kind grow."""
    flow = Flow()
    for number in range(VERSIONS_MAX + 3):
        publish(flow, str(number), AR="IN_TRANSIT")
    versions = flow.records["mapping_kind", "ups"].known_versions()
    assert versions == [str(number) for number in range(3, VERSIONS_MAX + 3)]


def test_nobody_else_says_what_the_codes_of_a_kind_mean() -> None:
    """Proves that an endpoint which calls itself by the name of another role's adapter can't tell
    its codes, nor one that is not registered, nor one with an empty file; and that an operator
    binds an endpoint to its adapter."""
    flow = Flow()
    publish(flow, "1", AR="IN_TRANSIT")
    impostor = Caller("shop", "MARKETPLACE")
    flow.employ(impostor)
    for wrong, caller in (
        (file("2", "shop", AR="DELIVERED"), impostor),
        (file("2"), CARRIER),
    ):
        before = dict(flow.records)
        with pytest.raises(Refused, match=r"STATE_TRANSITION|INVALID_FIELD"):
            flow.call(f"{SERVICE}/PublishDefaultMappings", wrong, caller)
        assert flow.records == before
    as_ups = endpoint_service_pb2.RegisterEndpointRequest(
        request_id=str(uuid.uuid4()), endpoint="shop", manifest=endpoint_pb2.Manifest(adapter="ups")
    )
    flow.call("endpoint.v1.EndpointService/RegisterEndpoint", as_ups, impostor)
    for stranger in (impostor, replace(impostor, adapter="shopify")):
        with pytest.raises(Refused) as refused:
            flow.call(
                f"{SERVICE}/PublishDefaultMappings", file("2", "shop", AR="DELIVERED"), stranger
            )
        assert refused.value.refusal.reason == "OUT_OF_SCOPE"
        assert '"adapter": "ups"' in refused.value.refusal.message
    with pytest.raises(Refused, match="MANIFEST_REFUSED"):
        flow.call(
            "endpoint.v1.EndpointService/RegisterEndpoint",
            as_ups,
            replace(impostor, adapter="shopify"),
        )
    bound = replace(impostor, adapter="ups")
    answer = flow.call(
        f"{SERVICE}/PublishDefaultMappings", file("2", "shop", AR="DELIVERED"), bound
    )
    assert answer.changed == 1


def test_a_file_that_names_a_code_twice_is_refused() -> None:
    """Proves that a data file with two meanings for one code changes nothing."""
    flow = Flow()
    request = service_pb2.PublishDefaultMappingsRequest(
        request_id=str(uuid.uuid4()), endpoint="ups", defaults_version="1"
    )
    for canonical in ("IN_TRANSIT", "DELIVERED"):
        meaning = mapping_pb2.Meaning(canonical=canonical)
        request.rows.add(
            topic=STATUS, native=native("AR"), meaning=meaning, source="a", confidence="L"
        )
    with pytest.raises(Refused, match="INVALID_FIELD"):
        flow.call(f"{SERVICE}/PublishDefaultMappings", request, CARRIER)
    assert not [key for key in flow.records if key[0] == "mapping_row"]
