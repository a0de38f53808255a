"""The conformance kit at an operation whose answer comes by a way in, as a mailbox's does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_events_pb2, label_pb2
from crossdock_adapters.legacy_file import conformance as legacy_file
from crossdock_adapters.legacy_file import translate
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.conformance import conforming
from crossdock_adapters.sdk.conformance.bench import Bench, wrong_answers
from crossdock_adapters.sdk.conformance.report import Report, Result
from crossdock_adapters.sdk.conformance.subject import Answers, Case, Subject, WayIn
from crossdock_adapters.sdk.file_exchange import FileExchange
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Reference,
)
from crossdock_adapters.sdk.sandbox import Call, VendorRoute, json_response
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Poll, Work
from sdk_tiny_adapter import MANIFEST as WHOLE_MANIFEST
from sdk_tiny_adapter import TinyVendor
from sdk_tiny_sandbox import TinySandbox
from starlette.requests import Request
from starlette.responses import Response

ASK = '[operations.ask]\nclass = "keyed"\nkey_life_seconds = 600\n'
WAIT_SECONDS = 0.1
OUTBOUND = ("confirmed", "redelivery", "reply_lost", "late_commit", "crash", "declared_class")


class AnsweringSandbox(TinySandbox):
    """It books each key once, and says which in a list of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.honours_keys = True

    def routes(self) -> list[VendorRoute]:
        return [
            *super().routes(),
            VendorRoute("GET", "/answers", self.answers, "answers"),
            VendorRoute("POST", "/taken", self.taken, "taken", effect=True),
        ]

    async def answers(self, request: Request, call: Call) -> Response:
        """Every key that was booked."""
        return json_response({"keys": [each["key"] for each in self.bookings]})

    async def taken(self, request: Request, call: Call) -> Response:
        """Whoever hears an answer says so, as by an acknowledgement."""
        return json_response({})


def asking(
    answered_by: str = "poll:pages", strikes: str = "book", acknowledges: bool = False
) -> Subject:
    """An endpoint that asks in its operation, and hears the answer by its poll. acknowledges: it
    says of every answer that it has it, by a call with an effect of its own."""
    start, end = WHOLE_MANIFEST.index("[operations.book]"), WHOLE_MANIFEST.index("[settings.")
    adapter = Adapter(parse(WHOLE_MANIFEST[:start] + ASK + WHOLE_MANIFEST[end:]), "tiny")

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> TinyVendor:
        return TinyVendor(settings, secrets)

    @adapter.operation("ask")
    async def ask(work: Work, vendor: TinyVendor) -> Confirmed:
        answer = await vendor.http.post("/bookings", json={"key": work.reference})
        if not answer.ok:
            raise OutcomeUnknown(f"the vendor answers {answer.status}")
        assert work.cursors is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_SECONDS
        while loop.time() < until:
            told, _ = await work.cursors.get_cursor("pages")
            if work.reference in told.decode().split():
                return Confirmed([Reference("booking", work.reference)])
            await asyncio.sleep(WAIT_SECONDS / 10)
        raise AnswerLater(f"{work.reference} waits for its answer")

    @adapter.poll("pages")
    async def hear(poll: Poll, vendor: TinyVendor) -> None:
        answer = await vendor.http.get("/answers")
        heard = poll.cursor.decode().split()
        if acknowledges and answer.ok and set(answer.json()["keys"]) - set(heard):
            await vendor.http.post("/taken", json={})
        if answer.ok:
            await poll.put_cursor(" ".join(answer.json()["keys"]).encode())

    case = Case(
        "ask",
        event=_event,
        made=lambda books: len(books["bookings"]),
        strikes=strikes,
        answered_by=answered_by,
    )
    return Subject(
        adapter=adapter,
        sandbox=AnsweringSandbox,
        settings=_settings,
        cases=[case],
        ways_in=[WayIn("poll:pages", payloads=[])],
    )


def _event(_: Mapping[str, Any]) -> label_events_pb2.LabelCreated:
    return label_events_pb2.LabelCreated(label=label_pb2.Label(tracking_number="P-1001"))


def _settings(sandbox: AnsweringSandbox, folder: Path) -> Mapping[str, Any]:
    (folder / "credential").write_text("credential")
    return {"base_url": sandbox.vendor_url, "credential": f"file:{folder / 'credential'}"}


async def checked(subject: Subject, folder: Path, *checks: str) -> Report:
    return await conforming.conform(subject, folder, only=checks)


async def test_an_answer_comes_by_the_way_in_that_the_case_names(tmp_path: Path) -> None:
    """Proves that every check of operations that counts effects passes where the answer comes by a
    poll, which is at work in the worlds of operations."""
    report = await checked(asking(), tmp_path, "described", *OUTBOUND)
    assert report.conforms, report.as_text()
    assert len(report.findings) == 1 + len(OUTBOUND)


async def test_the_calls_of_a_way_in_are_none_of_the_operations(tmp_path: Path) -> None:
    """Proves that what a way in itself calls, beside the operation whose answer it brings, is taken
    for no work of the operation: it is not lost in its place, and needs no trace of its event."""
    subject = asking(acknowledges=True)
    bench = Bench(subject, tmp_path)
    assert await bench.effects(subject.cases[0]) == ["book"]
    report = await checked(subject, tmp_path, "reply_lost", "trace")
    assert report.conforms, report.as_text()


def test_every_case_beside_a_way_in_says_what_does_its_work() -> None:
    """Proves that a case whose answer does not come by a way in has to give strikes, too, where one
    of another case is at work beside it."""
    subject = asking()
    beside = replace(subject.cases[0], operation="beside", answered_by="", strikes="")
    assert wrong_answers(replace(subject, cases=[*subject.cases, beside])) == [
        "beside: give strikes, because ask is answered_by a way in"
    ]
    assert wrong_answers(replace(subject, cases=[beside])) == []


async def test_without_that_way_in_it_is_never_confirmed(tmp_path: Path) -> None:
    """Proves that a case that names no way in has none: its operation waits, and is not passed."""
    (failure,) = (await checked(asking(answered_by=""), tmp_path, "confirmed")).failures
    assert "ask ended ANSWER_LATER > ANSWER_LATER" in failure.said
    assert "waits for its answer" in failure.said


@pytest.mark.parametrize(
    ("answered_by", "strikes", "said"),
    [
        ("poll:page", "book", "ask: answered_by names poll:page; there is poll:pages"),
        ("poll:pages", "", "ask: give strikes, because it is answered_by a way in"),
    ],
)
async def test_a_case_that_says_too_little_is_told_so(
    answered_by: str, strikes: str, said: str, tmp_path: Path
) -> None:
    """Proves that a misspelt way in, and a case that leaves open which call does the work, are
    found by the check that looks at the description."""
    (failure,) = (await checked(asking(answered_by, strikes), tmp_path, "described")).failures
    assert said in failure.said


TWICE_AND_TURNED = ("duplicate_inbound", "out_of_order_inbound")


def waiting_for(answers: Answers | None) -> Subject:
    """The ERP by flat file, whose answers are read for the operations that wait for them."""
    (way,) = legacy_file.CONFORMANCE.ways_in
    return replace(legacy_file.CONFORMANCE, ways_in=[replace(way, answers=answers)])


async def test_answers_are_given_twice_and_turned_to_whoever_waits(tmp_path: Path) -> None:
    """Proves that of a way in that tells no facts the case that waits for its answers is compared,
    and that without answers to give there is no pass."""
    (way,) = legacy_file.CONFORMANCE.ways_in
    report = await checked(waiting_for(way.answers), tmp_path, *TWICE_AND_TURNED)
    assert report.conforms, report.as_text()
    report = await checked(waiting_for(None), tmp_path, *TWICE_AND_TURNED)
    assert [finding.result for finding in report.findings] == [Result.FAILED] * 2
    assert all("give `answers`" in finding.said for finding in report.findings)


@pytest.mark.parametrize("check", TWICE_AND_TURNED)
async def test_an_operation_that_counts_its_answers_is_found(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an adapter fails which goes by the order in which two lines came, and which takes
    what comes twice for more than was asked for."""
    sorted_out, whole = FileExchange._sort_out, translate.verdict

    def as_they_came(files: Any) -> None:
        sorted_out(files)
        came = files.__dict__.setdefault("came", [])
        for said in files._said.values():
            came += [each for each in said if each not in came]
            said.sort(key=came.index)

    def counting(document: Any, event: Any, said: Any, answers: Any) -> Any:
        if len(said) > 2 or said[0].line == 20:
            raise NeedsPerson("the ERP says more than it was asked")
        return whole(document, event, said, answers)

    monkeypatch.setattr(FileExchange, "_sort_out", as_they_came)
    monkeypatch.setattr(translate, "verdict", counting)
    report = await checked(legacy_file.CONFORMANCE, tmp_path, check)
    (finding,) = report.findings
    assert (finding.result, "PARKED" in finding.said) == (Result.FAILED, True), finding
