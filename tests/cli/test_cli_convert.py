"""`crossdock convert` against a running hub: what it prints, and what its exit codes say."""

from __future__ import annotations

import json

import pytest
from crossdock.cli import app
from fixtures_hub import RunningHub
from typer.testing import CliRunner, Result


def convert(*words: str) -> Result:
    return CliRunner().invoke(app, ["convert", *words])


@pytest.fixture(autouse=True)
def place(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_ADDRESS", hub.address)
    monkeypatch.setenv("CROSSDOCK_TOKEN_FILE", str(hub.token_file("operator")))


def test_a_result_is_told_with_who_says_so() -> None:
    """An exact result has an equals sign and its rules; units may be written small."""
    done = convert("2.5", "lbr", "kgm")
    assert done.exit_code == 0, done.output
    first, _, rule = done.output.splitlines()
    assert first == "2.5 LBR = 1.133980925 KGM"
    assert convert("-2.5", "EA", "EA").output == "-2.5 EA = -2.5 EA\n"
    assert rule.split() == ["LBR", "45359237/100000000", "KGM", "UN/ECE", "Rec", "20"]


def test_what_is_not_exact_says_so() -> None:
    """Without --round there is no number and exit code 3; with it "about" stands before it."""
    done = convert("2", "EA", "DZN")
    assert done.exit_code == 3
    assert "2 EA has no exact decimal in DZN: one EA is 1/12 DZN; see --round" in done.output
    done = convert("2", "EA", "DZN", "--round", "half-even", "--digits", "2")
    assert done.exit_code == 0
    assert done.output.startswith("2 EA is about 0.17 DZN\n")


def test_json_is_the_answer_of_the_hub() -> None:
    """--json prints what the RPC said."""
    done = convert("1", "GRO", "EA", "--json")
    told = json.loads(done.output)
    assert told["quantity"] == {"value": "144", "unit": "EA"}
    assert told["exact"] is True


def test_a_refusal_names_what_to_do() -> None:
    """What nothing says is refused with the units, not with a traceback."""
    done = convert("1", "CS", "KGM")
    assert done.exit_code == 1
    assert "nothing says how much KGM one CS is" in str(done.exception or done.output)
