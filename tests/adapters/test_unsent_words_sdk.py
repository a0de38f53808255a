"""What an adapter tells the hub of a word that has no code to be sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_adapters.canada_post import translate as canada_post
from crossdock_adapters.fedex import conformance as fedex_conformance
from crossdock_adapters.fedex import translate as fedex
from crossdock_adapters.gls import translate as gls
from crossdock_adapters.ltl_freight import translate as ltl_freight
from crossdock_adapters.sdk import measures, return_reasons
from crossdock_adapters.sdk.carrier_labels import packaging_of
from crossdock_adapters.sdk.completion import CALL, LOOK_UP, whole_completion
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.exchange import Exchange
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from crossdock_adapters.ups import translate as ups

PARKED = delivery_pb2.ATTEMPT_OUTCOME_PARKED
DELIVERY = "0190a5b0-0000-7000-8000-000000000001"
WORD = UnsentWord(Topic.SERVICE_LEVEL, "GROUND", ("DOM", ""))


def row(code: Code, means: str, revision: int, topic: Topic = Topic.SERVICE_LEVEL) -> Told:
    return Told(topic, code, Meaning(means), True, revision)


ROWS = [
    row(Code("DOM", "01"), "GROUND", 1),
    row(Code("", "02"), "GROUND", 2),
    row(Code("INT", "03"), "GROUND", 4),
    row(Code("DOM", "04"), "NEXT_DAY", 8),
    row(Code("DOM", "05"), "GROUND", 16, Topic.UNIT),
]


def told(
    ended: Exception, kind: int = CALL, exchange: Exchange | None = None
) -> delivery_service_pb2.Completion:
    return whole_completion(DELIVERY, 1, kind, ended, exchange or Exchange(), rows=ROWS)[0]


@pytest.mark.parametrize("kind", [CALL, LOOK_UP])
def test_a_word_without_a_code_is_named_with_its_tables(kind: int) -> None:
    """Proves that the hub is told the word, the tables in which a code will do, and by which rows
    it was not found: those that mean it, in these tables, preferred or not."""
    answer = told(Untranslatable("GROUND has no code: say it", WORD), kind)
    assert answer.outcome == PARKED
    assert answer.reason == "GROUND has no code: say it; then it goes again by itself"
    assert answer.unsent_word == delivery_pb2.UnsentWord(
        topic="SERVICE_LEVEL", canonical="GROUND", native_types=["DOM", ""], rows_revision=3
    )


def test_only_what_a_row_can_mend_waits_for_one() -> None:
    """Proves that what is parked for something else names no word, nor does a word that no row can
    mean, nor work of which a part was sent: a person has to look at each."""
    partly = Exchange()
    partly.effect_left = True
    answers = [
        told(NeedsPerson("the account is locked")),
        told(Untranslatable("no weight")),
        told(Untranslatable("no code", replace(WORD, canonical="next day"))),
        told(Untranslatable("no code", replace(WORD, canonical=""))),
        told(Untranslatable("no code", replace(WORD, types=()))),
        told(Untranslatable("no code", replace(WORD, types=tuple("ABCDEFGHI")))),
        told(Untranslatable("no code", WORD), exchange=partly),
    ]
    for answer in answers:
        assert answer.outcome == PARKED
        assert not answer.HasField("unsent_word")
        assert "by itself" not in answer.reason


def service(*types: str) -> UnsentWord:
    return UnsentWord(Topic.SERVICE_LEVEL, "HOVER", types)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: ups.service_code("hover", "US", {}), service("")),
        (lambda: ups.service_code("hover", "CA", {}), service("CA", "INTL")),
        (lambda: ups.service_code("hover", "PL", {}), service("PL", "EU", "INTL")),
        (lambda: gls.service_of("hover", {}), service("", "PRIVATE", "INT", "ECONOMY")),
        (lambda: canada_post.service_code("hover", {}), service("DOM")),
        (lambda: ltl_freight.accessorial_of("hover", {}), service("")),
        (lambda: measures.word_of("LBR", {}, "ups"), UnsentWord(Topic.UNIT, "LBR")),
        (lambda: ErpUnits(kind="erp").out("EA"), UnsentWord(Topic.UNIT, "EA")),
        (
            lambda: return_reasons.code_of("DAMAGED", {}, "sap"),
            UnsentWord(Topic.REASON, "DAMAGED", ("RETURN",)),
        ),
        (
            lambda: packaging_of("T-1", {"T-1": "TUBE"}, {}, "02", "ups"),
            UnsentWord(Topic.PACKAGE_TYPE, "TUBE"),
        ),
    ],
)
def test_adapters_name_the_word_that_they_lack(work: Any, expected: UnsentWord) -> None:
    """Proves that services, units and package types without a row are told as what they wait for,
    with the tables that the adapter looks in."""
    with pytest.raises(Untranslatable) as raised:
        work()
    assert raised.value.unsent == expected


def fedex_service(word: str) -> str:
    shipment = fedex_conformance.shipment()
    shipment.service_code = word
    return fedex.service_type(shipment, {})


@pytest.mark.parametrize(
    "work",
    [
        fedex_service,
        lambda word: ups.service_code(word, "US", {}),
        lambda word: gls.service_of(word, {}),
        lambda word: canada_post.service_code(word, {}),
        lambda word: ltl_freight.accessorial_of(word, {}),
        lambda word: measures.word_of(word, {}, "ups"),
        lambda word: ErpUnits(kind="erp").out(word),
        lambda word: return_reasons.code_of(word, {}, "sap"),
        lambda word: packaging_of("T-1", {"T-1": word}, {}, "02", "ups"),
    ],
)
@pytest.mark.parametrize("word", ["next day", "X" * 65])
def test_no_command_is_told_that_could_not_work(work: Any, word: str) -> None:
    """Proves that a word which no row can mean has nobody type a row for it, and that people are
    told what to do instead; one that a row can mean is told with its command."""
    with pytest.raises(Untranslatable) as raised:
        work(word)
    assert "crossdock map set" not in raised.value.reason
    assert "setting" in raised.value.reason
    with pytest.raises(Untranslatable, match=r"crossdock map set .* --means HOVER --preferred"):
        work("HOVER")


def test_where_an_adapter_reads_no_row_none_is_waited_for() -> None:
    """Proves that UPS's services from a country whose codes are in no table are said by the setting
    that holds them, and that nothing waits for a row that nobody would read."""
    with pytest.raises(Untranslatable, match='setting services, as "MX:HOVER"') as raised:
        ups.service_code("hover", "MX", {})
    assert raised.value.unsent is None


def test_fedex_looks_in_the_table_of_its_border_too() -> None:
    """Proves that a row of either table of FedEx's services will do."""
    with pytest.raises(Untranslatable) as raised:
        fedex_service("HOVER")
    assert raised.value.unsent == service("", "US-CA")
