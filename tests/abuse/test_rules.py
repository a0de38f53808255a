"""A2: every rule of the contract, broken everywhere it can be, is named to the caller."""

from __future__ import annotations

import asyncio
from pathlib import Path

from abuse.broken_rules import declared_rules
from abuse.rule_breaking import measure
from fixtures_hub import RunningHub

# `make abuse` breaks each rule wherever it can be broken.
MOST_PER_RULE = 2


def test_each_broken_rule_is_refused_by_name_and_changes_nothing(tmp_path: Path) -> None:
    """Proves for each rule of the contract that a message which breaks it is refused with code,
    field, rule and a sentence, and that no row of the database has changed."""
    hub = RunningHub(tmp_path / "hub").start()
    try:
        found = asyncio.run(measure(hub, 0, most_per_rule=MOST_PER_RULE))
        log = hub.log()
    finally:
        hub.kill()
    left_out = declared_rules().symmetric_difference(found.rules)
    assert not left_out, f"declared and not broken, or the reverse: {sorted(left_out)}"
    assert found.wrong_count == 0, "\n".join(found.wrong)
    assert not found.state_changed
    assert "fault in a" not in log, log[-4000:]
