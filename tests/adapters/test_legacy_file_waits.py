"""The legacy ERP by flat file: what is waited for, what goes again, and what nobody may guess."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.legacy_file import adapter
from crossdock_adapters.legacy_file.adapter import ADAPTER, Erp
from crossdock_adapters.sdk import drop_folder, file_exchange, layout_files
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Retry,
    Unreachable,
)
from crossdock_adapters.sdk.settings import SettingsError, check
from crossdock_adapters.sdk.work import Poll
from fixtures_nats import PATIENCE_SECONDS
from legacy_file_world import ANSWERS, Desk, approved, order, running, shipped

A_DAY_SECONDS = 86_400.0
QUICK: dict[str, Any] = {"answer_wait_seconds": 0.05}


def root_of(desk: Desk) -> Path:
    return Path(desk.sandbox.settings["folder"])


def aged(file: Path, seconds: float) -> None:
    """As if it had been written so long ago."""
    then = time.time() - seconds
    os.utime(file, (then, then))


def answer(desk: Desk, name: str, status: str, code: str = "", number: int | None = None) -> Path:
    """A receipt in the ERP's folder, complete."""
    said = {"file": name, "status": status, "code": code, "number": number}
    data = layout_files.write(desk.vendor.layouts["receipts"], [Row("receipt", said)])
    count = len(list((root_of(desk) / "ack").iterdir()))
    file = root_of(desk) / "ack" / f"{name}.{count:04d}.ack"
    file.write_bytes(data)
    file.with_name(f"{file.name}.done").write_bytes(b"")
    return file


def fresh_process(desk: Desk) -> None:
    """The adapter, started anew."""
    layouts, old = dict(desk.vendor.layouts), desk.vendor
    desk.vendor = Erp(old._folder, old.conventions, layouts, ANSWERS, desk.settings)


async def waits(desk: Desk, said: str, reference: str = "A" * 20, number: str = "SO-1") -> None:
    with pytest.raises(AnswerLater, match=said):
        await desk.do("create_sales_order", approved(order(number=number)), reference)


@pytest.mark.parametrize("why", ["held", "without marker"])
async def test_one_file_that_lies_does_not_silence_the_erp(tmp_path: Path, why: str) -> None:
    """Proves that a file which the ERP holds, or one without its marker, is not taken for silence:
    others go on."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        inbound = root_of(desk) / "inbound"
        lonely = inbound / "CROSSDOCK_sales-orders_MAIN_20260101T000000Z_00000900.dat"
        lonely.write_bytes(b"x")
        if why == "held":
            lonely.with_name(f"{lonely.name}.done").write_bytes(b"x")
            aged(answer(desk, lonely.name, "H"), A_DAY_SECONDS)
        aged(lonely, A_DAY_SECONDS)
        await waits(desk, "waits for its receipt")


async def test_an_erp_that_answers_others_is_not_silent(tmp_path: Path) -> None:
    """Proves that a receipt or a move that is newer than the oldest file is a sign of life."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        await waits(desk, "waits for its receipt")
        name = desk.drafts["A" * 20]
        aged(root_of(desk) / "inbound" / name, A_DAY_SECONDS)
        with pytest.raises(OutcomeUnknown, match="SILENT"):
            await desk.do("create_sales_order", approved())
        answer(desk, "CROSSDOCK_goods-issues_MAIN_20260101T000000Z_00000001.dat", "A")
        await waits(desk, "waits for its receipt")


async def test_a_move_is_a_sign_of_life(tmp_path: Path) -> None:
    """Proves that an ERP which took another file just now, without a word, is not silent."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        await waits(desk, "waits for its receipt")
        await waits(desk, "waits for its receipt", "B" * 20, "SO-2")
        inbound = root_of(desk) / "inbound"
        aged(inbound / desk.drafts["A" * 20], A_DAY_SECONDS)
        (inbound / desk.drafts["B" * 20]).rename(root_of(desk) / "archive" / "somewhere-else")
        await waits(desk, "waits for its receipt")


@pytest.mark.parametrize("where", ["error", "gone"])
async def test_a_file_that_was_out_is_not_sent_again_unasked(tmp_path: Path, where: str) -> None:
    """Proves that a file which the ERP put into its error folder, or sorted away, before a receipt
    is there, waits, also after a restart."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        await waits(desk, "waits for its receipt")
        name, inbound = desk.drafts["A" * 20], root_of(desk) / "inbound"
        (inbound / f"{name}.done").unlink()
        if where == "gone":
            (inbound / name).unlink()
        else:
            (inbound / name).rename(root_of(desk) / "error" / name)
        fresh_process(desk)
        for _ in range(3):
            await waits(desk, "waits for its receipt")
        assert [path.name for path in inbound.iterdir() if path.is_file()] == []


async def test_a_refusal_that_comes_twice_is_one(tmp_path: Path) -> None:
    """Proves that copies of a receipt do not use up the times that a file is sent, and that the
    newest receipt decides, whatever older ones say."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        await waits(desk, "waits for its receipt")
        name, inbound = desk.drafts["A" * 20], root_of(desk) / "inbound"
        for _ in range(5):
            answer(desk, name, "R", "F002", number=7)
        (inbound / f"{name}.done").unlink()
        (inbound / name).rename(root_of(desk) / "error" / name)
        await waits(desk, "waits for its result")
        assert (inbound / name).exists(), "it was sent again"
        for number, code in ((8, "F002"), (9, "F002"), (10, "F003")):
            answer(desk, name, "R", code, number)
        with pytest.raises(NeedsPerson, match="F003"):
            await desk.do("create_sales_order", approved())
        answer(desk, name, "A", number=11)
        await waits(desk, "waits for its result")


async def test_a_file_goes_again_once_for_each_refusal(tmp_path: Path) -> None:
    """Proves that a file which the ERP put aside again, without a new receipt yet, waits for it."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.misbehave("silence")
        await waits(desk, "waits for its receipt")
        name, inbound = desk.drafts["A" * 20], root_of(desk) / "inbound"

        def set_aside() -> None:
            (inbound / f"{name}.done").unlink()
            (inbound / name).rename(root_of(desk) / "error" / name)

        set_aside()
        answer(desk, name, "R", "F002", number=1)
        await waits(desk, "waits for its result")
        set_aside()
        await waits(desk, "waits for its result")
        assert not (inbound / name).exists()


async def test_a_result_is_overdue_from_when_the_file_went_out(tmp_path: Path) -> None:
    """Proves that a number taken long before, as before an outage, makes nothing overdue."""
    async with running(tmp_path, **QUICK, result_silence_seconds=3600) as desk:
        await desk.misbehave("silence")
        name = await desk.draft("create_sales_order", approved())
        stamp = name.split("_")[3]
        desk.drafts["A" * 20] = name.replace(stamp, f"{int(stamp[:4]) - 1}{stamp[4:]}")
        await waits(desk, "waits for its receipt")
        fresh_process(desk)
        await waits(desk, "waits for its receipt")


async def test_a_share_that_is_away_parks_nothing(tmp_path: Path) -> None:
    """Proves that a folder which is not there, as when it is not mounted, is an outage."""
    async with running(tmp_path, **QUICK, local=True) as desk:
        (root_of(desk) / "ack").rename(root_of(desk) / "elsewhere")
        with pytest.raises(Unreachable, match="is it mounted"):
            await desk.do("create_sales_order", approved())
        (root_of(desk) / "elsewhere").rename(root_of(desk) / "ack")
        await desk.settled("create_sales_order", approved())


async def test_a_large_archive_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the archive may hold more files than are ever listed."""
    monkeypatch.setattr(drop_folder, "MAX_NAMES", 20)
    async with running(tmp_path, local=True) as desk:
        for number in range(30):
            (root_of(desk) / "archive" / f"old-{number}").write_bytes(b"x")
        await desk.settled("create_sales_order", approved())
        fresh_process(desk)
        await desk.settled("create_sales_order", approved())


async def test_a_hub_from_a_back_up_gives_no_number_again(tmp_path: Path) -> None:
    """Proves that the next number is above what the ERP was seen to have: in its folders, or by a
    receipt when its archive is empty."""
    async with running(tmp_path) as desk:
        for number in range(3):
            wanted = approved(order(number=f"SO-{number}"))
            await desk.settled("create_sales_order", wanted, f"{number}" * 20)
        desk.cursors.values.clear()
        fresh_process(desk)
        assert (await desk.draft("create_sales_order", approved(), "Y" * 20)).endswith("4.dat")
        for file in (root_of(desk) / "archive").iterdir():
            file.unlink()
        desk.cursors.values.clear()
        fresh_process(desk)
        assert (await desk.draft("create_sales_order", approved(), "Z" * 20)).endswith("4.dat")


async def test_a_gap_says_which_number_and_what_to_do(tmp_path: Path) -> None:
    """Proves that a delivery which parks with its number taken warns of the gap, and that what the
    ERP holds for it names the number."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.draft("create_sales_order", approved())

        async def refused(path: str, data: bytes) -> None:
            raise NeedsPerson("no permission")

        put = desk.vendor._folder.put
        desk.vendor._folder.put = refused  # type: ignore[method-assign]
        with pytest.raises(NeedsPerson, match=r"no permission; number 1 .* retry this delivery"):
            await desk.do("create_sales_order", approved())
        desk.vendor._folder.put = put  # type: ignore[method-assign]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with pytest.raises(AnswerLater) as told:
                    await desk.do("create_sales_order", approved(order(number="SO-2")), "B" * 20)
                if "is held by the ERP" in str(told.value):
                    break
        assert "taken and not out: 1." in str(told.value)


async def test_what_fails_after_the_file_is_out_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an outage behind the rename is not told as "nothing was done", and that a
    sequence which others keep moving hides nothing."""
    async with running(tmp_path, **QUICK) as desk:
        await desk.draft("create_sales_order", approved())
        look, looks = desk.vendor.look, 0

        async def lost(first: str = "") -> None:
            nonlocal looks
            looks += 1
            if looks > 1:
                raise Retry(0.0, "the connection was lost")
            await look(first)

        async def busy(*_: Any) -> None:
            raise Retry(0.0, "moved by others")

        monkeypatch.setattr("crossdock_adapters.sdk.sequences.Sequences.close", busy)
        monkeypatch.setattr(desk.vendor, "look", lost)
        with pytest.raises(OutcomeUnknown, match="is out; then: the connection was lost"):
            await desk.do("create_sales_order", approved())


async def test_many_answers_are_read_over_several_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that one look reads so many bytes at most, the asked file's answers first, and that
    the rest follows."""
    monkeypatch.setattr(file_exchange, "MAX_LOOK_BYTES", 200)
    async with running(tmp_path, **QUICK, local=True) as desk:
        names = [f"CROSSDOCK_sales-orders_MAIN_20260101T000000Z_{n:08d}.dat" for n in range(9)]
        for name in names:
            answer(desk, name, "A")
        await desk.vendor.look(names[7])
        assert desk.vendor.receipts(names[7])
        assert not all(desk.vendor.receipts(name) for name in names)
        for _ in names:
            await desk.vendor.look()
        assert all(desk.vendor.receipts(name) for name in names)


def put_broken(desk: Desk, name: str, size: int = 10) -> Path:
    """An answer in the ERP's folder that is complete and no receipt."""
    file = root_of(desk) / "ack" / name
    file.write_bytes(b"x" * size)
    file.with_name(f"{name}.done").write_bytes(b"")
    return file


class Holding:
    """The hub, to which broken answers are given; `away`: it does not answer; `faulty`: files that
    it has a fault with."""

    def __init__(self, desk: Desk) -> None:
        self.held: list[tuple[str, int]] = []
        self.away = False
        self.faulty: set[str] = set()
        nobody: Any = None
        self._poll = Poll(
            "answers", "legacy-file", b"", desk.settings, nobody, self._put, self._hold
        )
        self._desk = desk

    async def pull(self) -> None:
        """A round of the poll."""
        await ADAPTER.polls["answers"].pull(self._poll, self._desk.vendor)

    async def _hold(
        self, payload: bytes, content_type: str, reason: str, key: str, *_: object
    ) -> None:
        if self.away:
            raise ConnectionError("the hub is away")
        name = reason.partition(":")[0].rpartition("/")[2]
        if name in self.faulty:
            raise ValueError("a fault of the hub")
        self.held.append((name, len(payload)))

    async def _put(self, cursor: bytes) -> None: ...


@pytest.mark.parametrize("is_gone", [False, True])
async def test_of_a_broken_answer_nothing_is_kept_once_it_is_told(
    tmp_path: Path, is_gone: bool
) -> None:
    """Proves that of a broken answer no more is kept than the hub holds, and nothing once the hub
    has it, be the file there still or gone since; and that it is told once."""
    async with running(tmp_path, local=True) as desk:
        hub = Holding(desk)
        file = put_broken(desk, "large.ack", file_exchange.MAX_KEPT_BYTES + 1000)
        await desk.vendor.look()
        if is_gone:
            file.unlink()
        for _ in range(2):
            await hub.pull()
            assert desk.vendor.broken == {}
        assert hub.held == [("large.ack", file_exchange.MAX_KEPT_BYTES)]


async def test_broken_answers_do_not_pile_up_while_the_hub_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that no more broken answers are kept than the limit while the hub can be told of none,
    that receipts beside them are read all the same, and that each is told once afterwards."""
    monkeypatch.setattr(file_exchange, "MAX_KEPT_BROKEN", 2)
    async with running(tmp_path, local=True) as desk:
        hub = Holding(desk)
        hub.away = True
        names = [f"broken-{number}.ack" for number in range(5)]
        for name in names:
            put_broken(desk, name)
        answer(desk, "good.dat", "A")
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await hub.pull()
            assert len(desk.vendor.broken) == 2
        assert desk.vendor.receipts("good.dat")
        hub.away = False
        for _ in range(4):
            await hub.pull()
        assert sorted(name for name, _ in hub.held) == names
        assert desk.vendor.broken == {}


@pytest.mark.parametrize("kept_max", [2, 64])
async def test_answers_that_the_hub_cannot_be_given_keep_back_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_max: int
) -> None:
    """Proves that broken answers with which the hub has a fault, as many as are kept or more in a
    row than are taken for theirs, hold up none behind them, and are held once they can be."""
    monkeypatch.setattr(file_exchange, "MAX_KEPT_BROKEN", kept_max)
    async with running(tmp_path, local=True) as desk:
        hub = Holding(desk)
        faulty, others = [f"a{n}.ack" for n in range(4)], [f"b{n}.ack" for n in range(5)]
        hub.faulty = set(faulty)
        for name in (*faulty, *others):
            put_broken(desk, name)
        for _ in range(12):
            with contextlib.suppress(ValueError):
                await hub.pull()
            assert len(desk.vendor.broken) <= kept_max
        assert sorted(name for name, _ in hub.held) == others
        hub.faulty = set()
        for _ in range(6):
            await hub.pull()
        assert sorted(name for name, _ in hub.held) == [*faulty, *others]
        assert desk.vendor.broken == {}


async def test_a_broken_answer_that_comes_meanwhile_is_held_too(tmp_path: Path) -> None:
    """Proves that a delivery which meets one more broken answer while the hub is given the first
    does not end the poll, and that each of them is held once."""
    async with running(tmp_path, local=True) as desk:
        put_broken(desk, "first.ack")
        held: list[str] = []

        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, *_: object
        ) -> None:
            held.append(Path(key.split()[0]).name)
            if len(held) == 1:
                put_broken(desk, "second.ack")
                await desk.vendor.look()

        async def put(cursor: bytes) -> None: ...

        nobody: Any = None
        poll = Poll("answers", "legacy-file", b"", desk.settings, nobody, put, hold)
        for _ in range(2):
            await ADAPTER.polls["answers"].pull(poll, desk.vendor)
        assert held == ["first.ack", "second.ack"]


async def test_large_files_leave_the_loop_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that files are written and read in threads of their own."""
    seen: set[tuple[str, bool]] = set()

    def beside(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(layout: Any, *rest: Any) -> Any:
            if layout.name in ("sales_orders", "results"):
                on_loop = threading.current_thread() is threading.main_thread()
                seen.add((layout.name, on_loop))
            return function(layout, *rest)

        return call

    async with running(tmp_path, local=True) as desk:
        created = datetime(2026, 3, 5, tzinfo=UTC).replace(tzinfo=None)
        rows = [Row("head", {"sequence": 1, "created": created})]
        file = root_of(desk) / "result" / "one.res"
        file.write_bytes(layout_files.write(desk.vendor.layouts["results"], rows))
        file.with_name("one.res.done").write_bytes(b"")
        for name in ("write", "read"):
            monkeypatch.setattr(layout_files, name, beside(getattr(layout_files, name)))
        await desk.draft("create_sales_order", approved())
        assert seen == {("sales_orders", False), ("results", False)}


async def test_what_was_cut_is_told(tmp_path: Path) -> None:
    """Proves that a confirmation says which fields did not fit, and that a number is never cut."""
    wanted = approved()
    wanted.order.ship_to.address.lines.append("x" * 60)
    async with running(tmp_path) as desk:
        done = await desk.settled("create_sales_order", wanted)
        assert "cut to fit: ship_to.street_2" in done.note
        wanted.order.customer_reference = "9" * 36
        with pytest.raises(NeedsPerson, match="customer_reference: may have 35 characters"):
            await desk.draft("create_sales_order", wanted, "B" * 20)


async def test_departures_and_shipments_are_never_one_document(tmp_path: Path) -> None:
    """Proves that the second departure of SHP-1 and a shipment that is numbered SHP-1-2 are two
    goods issues, and that taking SHP-1 back leaves the other."""
    async with running(tmp_path) as desk:
        wanted = order((10, "SKU-1001", "9"), (20, "SKU-1002", "30"))
        await desk.settled("create_sales_order", approved(wanted), "A" * 20)
        parts = shipped("2")
        for carton, line in (("CARTON-1", 10), ("CARTON-2", 20)):
            left = parts.shipment.departures.add(package_numbers=[carton])
            row = left.shipped.add(line_number=line)
            row.quantity.value, row.quantity.unit = "2", "EA"
        issues: list[Confirmed] = [await desk.settled("post_goods_issue", parts, "B" * 20)]
        other = shipped("2")
        other.shipment.number = "SHP-1-2"
        issues.append(await desk.settled("post_goods_issue", other, "C" * 20))
        assert len({issue.references[0].value for issue in issues}) == 2
        assert len(desk.issues()) == 2
        await desk.settled("reverse_goods_issue", parts, "D" * 20)
        assert [each["taken_back"] for each in desk.issues()] == [True, False]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"temporary": ""}, "must not be empty"),
        ({"marker": ".dat"}, "must differ"),
        ({"ending": ".x.tmp"}, "must differ"),
        ({"folders": {"inbound": "in"}}, "work, archive, error, ack, result, reject is missing"),
    ],
)
async def test_conventions_that_cannot_work_are_refused(
    given: dict[str, Any], problem: str
) -> None:
    """Proves that endings which would show half a file as a whole one never start."""
    settings, secrets = check(ADAPTER.manifest.settings, {"location": "file:///x", **given})
    with pytest.raises(SettingsError, match=problem):
        await adapter.connect(settings, secrets)
