"""The conformance kit can fail: each check is seen failing at an adapter with that very fault."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock_adapters import __main__ as command
from crossdock_adapters.sdk import inbound
from crossdock_adapters.sdk.carrying import COMPLETION_SOURCE, FACT_CONTENT_TYPE
from crossdock_adapters.sdk.conformance import checks_inbound, conforming, evidence, ledger, stage
from crossdock_adapters.sdk.conformance import hub as kit_hub
from crossdock_adapters.sdk.conformance.bench import CHECKS, Scope
from crossdock_adapters.sdk.conformance.hub import Hub
from crossdock_adapters.sdk.conformance.report import Report, Result
from crossdock_adapters.sdk.conformance.subject import NoSubject, Subject, load
from crossdock_adapters.sdk.manifest import OperationClass
from crossdock_adapters.sdk.outcomes import Retry
from sdk_tiny_conformance import CREDENTIAL, FAULTS, GREEDY_BYTES, tiny

HERE = Path(__file__).parent
PLACE = "sdk_tiny_conformance:CONFORMANCE"
# A check, a fault that it has to find, and what it has to say about it.
FOUND = [
    ("confirmed", "posts_twice", "2 effects"),
    ("confirmed", "bad_fact", "the hub refuses"),
    ("confirmed", "two_numbers", "the hub takes it for posted twice"),
    ("redelivery", "posts_twice", "2 effects"),
    ("reply_lost", "unknown_is_retry", "though the vendor did"),
    ("reply_lost", "repeats_itself", "2 effects"),
    ("reply_lost", "blind_look_up", "2 effects"),
    ("not_done", "hopes", "and no effect"),
    ("late_commit", "blind_look_up", "2 effects"),
    ("late_commit", "believes_early", "2 effects"),
    ("crash", "blind_look_up", "2 effects"),
    ("throttled", "no_wish", "the hub was told 0 s"),
    ("throttled", "own_pause", "the vendor wants 90 s of rest, the hub was told 30 s"),
    ("vendor_down", "down_is_rejected", "REJECTED"),
    ("expired_token", "one_token", "REJECTED"),
    ("expired_token", "one_token_at_work", "THROTTLED > REJECTED"),
    ("trace", "no_trace", "no trace"),
    ("poison", "eats_poison", "had an effect"),
    ("reply_lost", "last_call_only", "2 effects"),
    ("declared_class", "wrong_class", "natural after reply_lost: 2 effects"),
    ("lease", "late_sender", "was called without a lease"),
    ("arrives", "deaf", "told the hub nothing"),
    ("duplicate_inbound", "new_ids", "facts too many"),
    ("out_of_order_inbound", "newest_only", "facts are missing"),
    ("hub_away", "answers_anyway", "and the hub had taken nothing: nobody sends it again"),
    ("unknown_code", "guesses", "guessed"),
    ("unknown_code", "guesses_elsewhere", "guessed"),
    ("unknown_code", "drops_unknown", "was dropped"),
    ("unknown_field", "strict", "is held"),
    ("malformed", "no_place", "does not say where"),
    ("malformed", "swallows", "nobody refused or held"),
    ("oversize", "swallows", "was dropped"),
    ("oversize", "hoards", "MiB, the limit is 48 MiB"),
    ("bomb", "swallows", "was dropped"),
    ("bomb", "inflates", "MiB, the limit is 128 MiB"),
    ("bomb", "slow_reader", "took "),
    ("bomb", "greedy_reader", "MiB"),
    ("unproven_sender", "open_door", "a stranger was answered 200"),
    ("unproven_sender", "any_credential", "another proof was answered 200"),
    ("unproven_sender", "any_signature", "the proof of other bytes was answered 200"),
    ("described", "no_case", "describes nothing of book"),
    ("drain", "dies", "ended with -15"),
    ("secrets", "chatty", "a secret stands in the log"),
    ("secrets", "chatty_in_base64", "a secret stands in the log"),
    ("secrets", "chatty_of_tokens", "a secret stands in the log"),
    ("secrets", "prints", "a secret stands in the log"),
    ("secrets", "answers_with_it", "a secret stands in what was answered"),
]


NOTHING_PROVED = "no call was refused for a forgotten token: nothing is proved of it"
OUTBOUND = [check.name for check in CHECKS.values() if check.scope is Scope.OPERATION]


def _begins_anything(delivery: Any, _: int, attempt_id: str) -> bool:
    delivery.open, delivery.begun_by = True, attempt_id
    delivery.token += 1
    delivery.attempt += 1
    return True


@pytest.fixture(autouse=True)
def _another_process_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


async def checked(subject: Subject, folder: Path, *checks: str, place: str = PLACE) -> Report:
    return await conforming.conform(subject, folder, place=place, only=checks)


async def test_an_adapter_without_faults_conforms(tmp_path: Path) -> None:
    """Proves that no check fails without a reason: every one is run, and passes."""
    report = await checked(tiny(), tmp_path)
    assert report.conforms, report.as_text()
    assert {finding.check for finding in report.findings} == set(CHECKS)
    assert {finding.result for finding in report.findings} == {Result.PASSED}
    assert "tiny conforms: " in report.as_text() and not report.left_out


@pytest.mark.parametrize(("check", "fault", "said"), FOUND)
async def test_each_check_finds_its_fault(
    check: str, fault: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the check can fail, and says what is wrong: at an adapter with this one fault."""
    if check == "oversize":
        # The SDK refuses these before an adapter sees them; here one has to deal with them.
        monkeypatch.setattr(inbound, "MAX_WEBHOOK_BYTES", 1 << 24)
    if fault in ("greedy_reader", "hoards"):
        # What was taken and given back before must not hide it.
        b"".center(4 * GREEDY_BYTES)
        monkeypatch.setattr(checks_inbound, "GROWTH_MIB", GREEDY_BYTES // 2 // 1024 // 1024)
    if fault == "slow_reader":
        monkeypatch.setattr(checks_inbound, "BOMB_SECONDS", 0.3)
    place = "sdk_tiny_conformance:DIES" if fault == "dies" else PLACE
    report = await checked(tiny(fault), tmp_path, check, place=place)
    assert any(said in failure.said for failure in report.failures), report.as_text()
    assert not report.conforms


def confirmation(outcome: str, *values: str, beside: str = "") -> delivery_service_pb2.Completion:
    references = [delivery_pb2.VendorReference(type="label", value=each) for each in values]
    found = [delivery_pb2.VendorReference(type="label", value=beside)] if beside else []
    return delivery_service_pb2.Completion(
        outcome=delivery_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome}"),
        vendor_references=references,
        duplicates=found,
    )


@pytest.mark.parametrize(
    ("kind", "told", "twice"),
    [
        ("searchable", [confirmation("CONFIRMED", "A")], []),
        ("searchable", [confirmation("CONFIRMED", "A"), confirmation("CONFIRMED", "A")], []),
        ("searchable", [confirmation("UNKNOWN", "A"), confirmation("CONFIRMED", "B")], []),
        ("searchable", [confirmation("CONFIRMED", "A", "B")], ["A", "B"]),
        ("two_step", [confirmation("CONFIRMED", "A"), confirmation("CONFIRMED", "B")], ["A", "B"]),
        ("none", [confirmation("CONFIRMED", "A", beside="B")], ["A", "B"]),
        ("natural", [confirmation("CONFIRMED", "A"), confirmation("CONFIRMED", "B")], []),
    ],
)
def test_one_delivery_has_one_number_of_a_type(
    kind: str, told: list[delivery_service_pb2.Completion], twice: list[str]
) -> None:
    """Proves that the kit counts numbers as the hub does, which calls two of a type posted twice:
    of confirmations alone, with what was found beside, each once, and not of full state."""
    assert ledger.numbered_twice(OperationClass(kind), told) == ({"label": twice} if twice else {})


async def test_what_nobody_knows_of_class_none_is_left_to_a_person(tmp_path: Path) -> None:
    """Proves that an operation of class none passes every check by stopping where its outcome is
    not known: after a lost answer, a late one and a crash no attempt follows."""
    report = await checked(tiny(parks=True), tmp_path, *OUTBOUND)
    assert report.conforms, report.as_text()
    told = {(finding.check, finding.about): finding.result for finding in report.findings}
    assert {check for check, about in told if about == "book"} == {*OUTBOUND}
    assert set(told.values()) == {Result.PASSED}


@pytest.mark.parametrize(
    ("check", "fault", "said"),
    [
        ("reply_lost", "unknown_is_retry", "though the vendor did"),
        ("reply_lost", "repeats_itself", "2 effects"),
        ("declared_class", "repeats_itself", "none after reply_lost: 2 effects"),
    ],
)
async def test_what_class_none_repeats_is_found(
    check: str, fault: str, said: str, tmp_path: Path
) -> None:
    """Proves that class none is no excuse: one that asks for a repeat of what may have worked, or
    makes it itself, does not conform."""
    report = await checked(tiny(fault, parks=True), tmp_path, check)
    failures = {failure.about: failure.said for failure in report.failures}
    assert said in failures["book"], report.as_text()


@pytest.mark.parametrize(
    ("name", "broken", "said"),
    [
        ("again", lambda _: True, "the hub would ask for it again"),
        ("begin", _begins_anything, "was begun again"),
    ],
)
@pytest.mark.parametrize("check", ["reply_lost", "late_commit", "crash"])
async def test_a_repeat_of_what_nobody_knows_is_seen(
    check: str, name: str, broken: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that these checks look whether anything follows an outcome that nobody knows: at a
    ledger that asks for a repeat, and at one that hands out an old message again."""
    monkeypatch.setattr(ledger.Delivery, name, broken)
    report = await checked(tiny(parks=True), tmp_path, check)
    failures = {failure.about: failure.said for failure in report.failures}
    assert said in failures["book"], report.as_text()


def test_no_check_and_no_fault_is_left_out() -> None:
    """Proves that the table above has every check of the kit, and every fault of the adapter."""
    assert {check for check, _, _ in FOUND} == set(CHECKS)
    assert {fault for _, fault, _ in FOUND} == set(FAULTS)


def test_the_guide_has_every_check_and_what_it_proves() -> None:
    """Proves that the table in adapters/README.md is the kit's: names, scopes, first lines."""
    guide = (HERE.parents[1] / "adapters" / "README.md").read_text("utf-8")
    for check in CHECKS.values():
        row = f"| `{check.name}` | {check.scope} | {check.proves.rstrip('.')} |"
        assert row in guide, row
    assert guide.count(" | way in | ") + guide.count(" | operation | ") + guide.count(
        " | endpoint | "
    ) == len(CHECKS)


async def test_what_a_payload_took_is_told(tmp_path: Path) -> None:
    """Proves that people and programs are told how much memory the worst payload took, beside what
    it may take, also where the check passes."""
    report = await checked(tiny(), tmp_path, "bomb", "oversize")
    figure = re.compile(rf"^\d+ MiB more memory at most, of {checks_inbound.GROWTH_MIB}$")
    told = report.as_json()["findings"]
    assert [each["result"] for each in told] == ["passed"] * 2
    for each in told:
        assert figure.match(each["measured"]), each
        assert f"/scan: passed ({each['measured']})" in report.as_text()


async def test_what_does_not_apply_is_told_with_its_reason(tmp_path: Path) -> None:
    """Proves that a reason in the manifest stands in the report instead of the failure."""
    excuse = '[not_applicable.trace]\nbook = "the vendor takes no headers"\n'
    report = await checked(tiny("no_trace", excuse), tmp_path, "trace")
    told = {finding.about: finding for finding in report.findings}
    assert told["book"].result is Result.NOT_APPLICABLE
    assert told["ship"].result is Result.FAILED
    assert "NOT APPLICABLE: the vendor takes no headers" in report.as_text()


async def test_a_reason_that_is_no_longer_true_fails(tmp_path: Path) -> None:
    """Proves that an excuse for a check that passes is found, so that it does not stay for ever."""
    excuse = '[not_applicable]\noutbound = "we do nothing"\n'
    report = await checked(tiny("", excuse), tmp_path, "confirmed")
    assert all("take it out of [not_applicable]" in each.said for each in report.failures)
    assert len(report.failures) == 2


async def test_a_reason_for_no_check_fails(tmp_path: Path) -> None:
    """Proves that a misspelt check or operation in [not_applicable] excuses nothing in silence."""
    excuse = '[not_applicable]\nredelivry = "typo"\n[not_applicable.crash]\nbok = "typo"\n'
    (failure,) = (await checked(tiny("", excuse), tmp_path, "described")).failures
    assert "redelivry: no such check" in failure.said
    assert "bok: no such operation" in failure.said


async def test_a_class_that_lets_a_repeat_is_never_excused(tmp_path: Path) -> None:
    """Proves that no reason in the manifest stands for the proof that a repeat makes nothing twice:
    for one operation or for all, at an adapter that books twice."""
    for excuse in (
        '[not_applicable.declared_class]\nbook = "trust us"\n',
        '[not_applicable]\ndeclared_class = "trust us"\n',
        '[not_applicable]\noutbound = "trust us"\n',
    ):
        report = await checked(tiny("wrong_class", excuse), tmp_path, "declared_class")
        assert any("2 effects" in failure.said for failure in report.failures), excuse


async def test_the_hub_of_the_kit_keeps_what_is_held() -> None:
    """Proves that what an endpoint gives the hub to hold has an id, is told by it, and is closed
    when it is written: what a completion had no room for has a way back."""
    hub = Hub(tiny().adapter.manifest)
    held = held_fact_pb2.HoldPayloadRequest(
        request_id=str(uuid.uuid4()), payload=b"x", content_type=FACT_CONTENT_TYPE,
        source=COMPLETION_SOURCE, reason="no room",
    )  # fmt: skip
    service = "/crossdock.endpoint.v1.EndpointService/"
    ids = set()
    for _ in range(2):
        answer: Any = await hub.answer(service + "HoldPayload", held.SerializeToString())
        ids.add(answer.receipt.held_fact_id)
    (held_id,) = ids
    assert held_id and [fact.id for fact in hub.facts_held_apart()] == [held_id]
    asked = held_fact_pb2.ListHeldFactsRequest(ids=[held_id], payloads_only=True)
    told: Any = await hub.answer(service + "ListHeldFacts", asked.SerializeToString())
    assert [fact.payload for fact in told.held_facts] == [b"x"]
    report = held_fact_pb2.ReportHeldPayloadRequest(
        request_id=str(uuid.uuid4()), held_fact_id=held_id, translated=True
    )
    await hub.answer(service + "ReportHeldPayload", report.SerializeToString())
    assert hub.facts_held_apart() == []


async def test_evidence_that_was_cut_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that no secret counts as absent where more was said than was looked at."""
    for module, name in ((evidence, "MAX_LOG_CHARACTERS"), (kit_hub, "MAX_EVIDENCE_BYTES")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, 100)
            report = await checked(tiny(), tmp_path, "secrets")
        assert "more was said than is kept" in report.as_text(), name


@pytest.mark.parametrize(
    ("fault", "excused"),
    [("", ""), ("looks_first", ""), ("", "ship")],
)
async def test_a_token_that_nobody_missed_proves_nothing(
    tmp_path: Path, fault: str, excused: str
) -> None:
    """Proves that no token counts as renewed where the vendor took each call, because `expire` does
    not make it forget anything; that what was not found is no refusal of a token; and that an
    operation which is excused, the last one, hides nothing of the others."""

    async def nothing(_: Any) -> None:
        return

    reason = f'[not_applicable]\nexpired_token = {{ {excused} = "it needs none" }}\n'
    subject = replace(tiny(fault, reason if excused else ""), expire=nothing)
    report = await checked(subject, tmp_path, "expired_token")
    said = [failure.said for failure in report.failures]
    assert any("was refused for a forgotten token: nothing is proved" in each for each in said)
    others = [finding.said for finding in report.findings if finding.result is not Result.FAILED]
    assert others == ["it needs none" if excused else NOTHING_PROVED]


async def test_an_operation_that_asks_for_its_token_meets_a_forgotten_one(tmp_path: Path) -> None:
    """Proves that an operation before which nobody needed its token is shown one that the vendor
    forgot: nothing was proved of it while the vendor forgot only what it had given before."""
    report = await checked(tiny("first_at_work"), tmp_path, "expired_token")
    told = {finding.about: finding.result for finding in report.findings}
    # The tiny vendor asks for a token where something is booked or drafted; a draft that is there
    # is only confirmed.
    assert told == {"book": Result.PASSED, "ship": Result.NOT_APPLICABLE}


async def test_an_endpoint_that_never_serves_says_why_and_costs_one_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the reason why an endpoint does not start stands in the report, and that the
    other checks do not each wait for it again."""
    monkeypatch.setattr(stage, "SERVES_SECONDS", 0.5)
    subject = tiny()

    @subject.adapter.test_connection
    async def refused(vendor: Any) -> None:
        raise Retry(0.0, "the vendor does not let us in")

    report = await checked(subject, tmp_path, "confirmed", "arrives", "drain")
    said = [failure.said for failure in report.failures]
    assert len(said) == len(report.findings) == 4
    assert "Tiny is gone: connection test: the vendor does not let us in" in said[0]
    assert said[1:] == [f"not tried: {said[0]}"] * 3


async def test_nothing_to_check_is_no_pass(tmp_path: Path) -> None:
    """Proves that a subject without cases or ways in fails, until its manifest says why."""
    bare = Subject(tiny().adapter, tiny().sandbox, tiny().settings)
    report = await checked(bare, tmp_path, "redelivery", "malformed", "described")
    assert len(report.failures) == 3
    assert not Report("none", "None", "1").conforms


def test_the_command_reports_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves the exit status, the text and the JSON of `conform`, and that no secret is printed."""
    asked = ["conform", PLACE, "--check", "confirmed", "--check", "unknown_code"]
    assert command.main(asked) == 0
    text, progress = capsys.readouterr()
    some = f"tiny passes 2 of {len(CHECKS)} checks, the others were not run"
    assert f"{some}: 3 passed, 0 failed, 0 not applicable" in text
    assert "conforms" not in text
    assert "confirmed(book): passed" in progress
    assert command.main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["conforms"] is True
    assert [each["result"] for each in told["findings"]] == ["passed"] * 3
    assert {*told["checks_left_out"]} == {*CHECKS} - {"confirmed", "unknown_code"}
    assert CREDENTIAL not in text + progress + json.dumps(told)


def test_a_check_that_there_is_none_of_is_no_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves that a misspelt check is named beside those there are, with exit status 78, and that
    it does not pass for one that ran because another did."""
    asked = ["conform", PLACE, "--check", "confirmed", "--check", "reply-lost"]
    assert command.main(asked) == command.EXIT_CONFIGURATION
    told = capsys.readouterr()
    assert "no check is called reply-lost; there are: " in told.err
    assert "reply_lost" in told.err and "conforms" not in told.out + told.err


def test_an_adapter_without_a_subject_is_told_what_to_write() -> None:
    """Proves that a missing conformance.py is a clear answer and exit status 78, not a trace."""
    with pytest.raises(NoSubject, match=r"has no CONFORMANCE"):
        load("sdk_tiny_adapter:CONFORMANCE")
    assert command.main(["conform", "nobody"]) == command.EXIT_CONFIGURATION
