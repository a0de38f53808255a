"""LTL freight when a file is worse than was foreseen: it is held, and what is behind it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock_adapters.ltl_freight import translate_status
from crossdock_adapters.ltl_freight.conformance import status
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.outcomes import Retry
from ltl_freight_world import running


async def test_a_date_of_no_business_stops_no_file(tmp_path: Path) -> None:
    """Proves that an estimate in a group whose date is of no year of business is acknowledged with
    errors and held, and that the file behind it is told."""
    async with running(tmp_path) as world:
        group = b"GS*QM*EXLA*NORTHWIND*"
        early = status(1, "AG", "0905").replace(group + b"20260305", group + b"19700101")
        world.put("a.edi", early)
        world.put("b.edi", status(2, "AF", "0905"))
        await world.look()
        assert world.names("from_carrier") == [] and len(world.hub.scans) == 1
        ((_, reason),) = world.hub.held
        assert reason == "segment 2 (GS), element 4: is in no year of business"
        assert [each["status"] for each in world.sandbox.books()["acknowledged"]] == ["E", "A"]


async def test_a_fault_in_reading_stops_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that a set whose reading fails in a way that nobody foresaw is held with its place and
    without the words of the fault, that it is logged, and that the file behind it is told."""
    read = translate_status.read

    def fails_once(found: Any, *rest: Any) -> Any:
        if found.body[0].raw(2) == "S-2001":
            raise KeyError("of the customer")
        return read(found, *rest)

    async with running(tmp_path) as world:
        world.put("a.edi", status(1, "AF", "0905"))
        world.put("b.edi", status(2, "AF", "0905").replace(b"*S-2001*", b"*S-2002*"))
        with patch.object(translate_status, "read", fails_once):
            await world.look()
        assert world.names("from_carrier") == [] and len(world.hub.scans) == 1
        ((payload, reason),) = world.hub.held
        assert payload == status(1, "AF", "0905")
        assert reason.startswith("segment 3 (ST): cannot be read here (KeyError)")
        assert "customer" not in reason + caplog.text and "KeyError" in caplog.text


@pytest.mark.parametrize("away", [HubAway("away"), OSError("gone"), Retry(0.0, "not now")])
async def test_a_hub_that_is_away_holds_no_file(tmp_path: Path, away: Exception) -> None:
    """Proves that what the hub or the way to it says is no problem of the file: it stays, and is
    told by the next round."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(1, "AF", "0905"))
        with (
            patch.object(translate_status, "read", side_effect=away),
            pytest.raises(type(away)),
        ):
            await world.look()
        assert world.names("from_carrier") == ["a.edi"] and not world.hub.held
        await world.look()
        assert world.names("from_carrier") == [] and len(world.hub.scans) == 1
