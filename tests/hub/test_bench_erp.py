"""The ERP of the bench: what it turns away, and that a pause of its own is no fault of a caller."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp

from tests.load.erp import Call, Erp, most_in_a_second


def call(since: float, at: float) -> Call:
    return Call("", since, at, False)


def test_what_came_in_one_second_is_told_from_what_was_seen_in_one() -> None:
    """Proves that calls which may have come before a pause of the ERP count as one second's only
    where they certainly were, and that the second may lie anywhere."""
    paused = [call(0.0, 0.5), call(0.0, 0.5), call(1.2, 1.2), call(1.25, 1.25)]
    assert most_in_a_second(paused, lambda each: each.at) == 4
    assert most_in_a_second(paused, lambda each: each.since) == 2
    apart = [call(at, at) for at in (0.0, 0.9, 1.0, 1.8, 1.85, 2.0)]
    assert most_in_a_second(apart, lambda each: each.since) == 4


async def test_it_turns_away_what_is_too_much_and_tells_how_late_it_was() -> None:
    """Proves that the ERP refuses the calls beyond its limit, and no other; that a process that
    stood still tells since when its calls may have lain there; and that it holds that against
    nobody."""
    async with Erp() as erp, aiohttp.ClientSession(erp.url) as callers:
        await erp.limit(2)

        async def status() -> int:
            async with callers.post("/documents", json={"key": "k", "order": "o"}) as answer:
                return answer.status

        assert sorted(await asyncio.gather(*(status() for _ in range(3)))) == [200, 200, 429]
        await erp.look()
        assert [each.refused for each in erp.calls] == [False, False, True]
        assert all(0 <= each.at - each.since < 0.5 for each in erp.calls)
        await erp.limit(2)
        assert erp._process is not None
        os.kill(erp._process.pid, signal.SIGSTOP)
        lying = [asyncio.create_task(status()) for _ in range(2)]
        answered, _ = await asyncio.wait(lying, timeout=1.1)
        assert not answered
        os.kill(erp._process.pid, signal.SIGCONT)
        assert [await each for each in lying] == [200, 200]
        # What lay there may have come more than a second ago.
        assert await status() == 200
        await erp.look()
        assert min(each.at - each.since for each in erp.calls[:2]) > 1.0
        assert most_in_a_second(erp.calls[:2], lambda each: each.since) == 1
