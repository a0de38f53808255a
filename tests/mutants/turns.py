"""Faults in whose turn it is (callers, bulk, held facts, hubs at a port), and in a tie."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

LANES: Final = ("tests/hub/test_lanes.py",)
PAGES: Final = ("tests/hub/test_held_in_pages.py",)
MARKS: Final = ("tests/hub/test_rounds.py",)
PARTS: Final = ("tests/hub/test_tie_parts.py",)
PORTS: Final = ("tests/hub/test_shared_port.py",)

TURN_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}store/bus_rows.py",
        MARKS,
        a_bus_that_was_told_takes_the_ledger_back=(
            '    "UPDATE bus_tie SET generation = coalesce(nullif(?, 0), generation),"\n',
            '    "UPDATE bus_tie SET generation = coalesce(?, generation),"\n',
        ),
        a_ledger_that_goes_on_has_told_the_bus_nothing=(
            '    " told = coalesce(nullif(?, 0), told)",\n',
            '    " told = coalesce(?, told)",\n',
        ),
    ),
    *faults_in(
        f"{HUB}bus/tie.py",
        PARTS,
        database_that_is_older_in_a_part_is_taken=(
            "or _any_is_older(database, parts, parts_told):",
            "or False:",
        ),
        parts_stay_as_they_were_after_a_doubt=(
            "await rows.keep_tie_parts(connection, parts_after_doubt(own, parts, parts_told))",
            "pass",
        ),
        later_word_of_a_part_is_written_over=("headers=fence)", "headers={})"),
        parts_are_not_told_of_again=(
            "        self._others_know = False\n        self._wake.set()\n",
            "        self._wake.set()\n",
        ),
    ),
    *faults_in(
        f"{HUB}bus/streams.py",
        PARTS,
        busy_part_pushes_out_the_words_of_others=(
            "        max_messages_of_subject=_TIES_KEPT,\n",
            "        max_messages=_TIES_KEPT,\n",
        ),
    ),
    *faults_in(
        f"{HUB}door/turns.py",
        ("tests/hub/test_turns.py",),
        large_requests_are_read_beside_callers=(
            "                await self._lanes.calm.wait()\n",
            "                pass\n",
        ),
        reports_wait_for_one_that_is_worked_on=(
            "        if self._one.locked() or self._work.locked():\n            return\n",
            "",
        ),
        callers_keep_large_requests_out_for_ever=(
            "            async with asyncio.timeout_at(until):\n",
            "            async with asyncio.timeout_at(None):\n",
        ),
    ),
    *faults_in(
        f"{HUB}lanes.py",
        ("tests/hub/test_arrivals.py",),
        bulk_goes_before_callers_on_the_way=(
            "            await self.arrivals.all_heard(self._limits.bulk_awaits_seconds)\n",
            "            pass\n",
        ),
    ),
    *faults_in(
        f"{HUB}foresight.py",
        ("tests/hub/test_foresight.py",),
        what_was_foreseen_counts_whatever_was_changed_since=(
            "        return any(_watched(key) in self.touched for key in self.read)\n",
            "        return False\n",
        ),
        what_others_of_its_batch_changed_is_not_looked_at=(
            "        if foreseen is None or not foreseen.holds or view.changes.records:\n",
            "        if foreseen is None or not foreseen.holds:\n",
        ),
        what_was_foreseen_outlives_a_batch_that_was_lost=(
            "        for foreseen in self._open.values():\n            foreseen.spoilt = True\n",
            "",
        ),
        what_was_foreseen_does_not_see_new_rows_of_a_root=(
            '            touched.add(("root", record.root_id))\n',
            "            pass\n",
        ),
        what_is_not_one_row_is_foreseen_too=(
            "    return all(_watched(key) is not None for key in keys if key[0] not in _TOLD)\n",
            "    return True\n",
        ),
        what_is_foreseen_in_vain_is_read_on=(
            "                    if not _are_watched(keys):\n",
            "                    if False:\n",
        ),
        facts_beside_what_was_foreseen_pass_it=(
            '            touched.add(("parcel", *record.awaits',
            '            touched.add(("none", *record.awaits',
        ),
        scans_beside_what_was_foreseen_pass_it=(
            '    touched |= {("parcel", scan.carrier_code, scan.tracking_number)',
            '    touched |= {("none", scan.carrier_code, scan.tracking_number)',
        ),
        what_was_decided_anew_finds_nothing_read=(
            "                unit.require(command.keys)\n",
            "                pass\n",
        ),
    ),
    *faults_in(
        f"{HUB}arrivals.py",
        ("tests/hub/test_arrivals.py",),
        who_never_gets_there_is_waited_for_again=(
            "        self._count = 0\n        self._none.set()\n",
            "",
        ),
    ),
    *faults_in(
        f"{HUB}door/running_calls.py",
        ("tests/hub/test_arrivals.py",),
        loads_are_waited_for_as_callers_are=(
            "    return one and method not in UPSERTS and method not in PREPARATIONS",
            "    return one",
        ),
    ),
    *faults_in(
        f"{HUB}door/running_calls.py",
        ("tests/hub/test_running_calls.py",),
        a_full_hub_takes_more=("if self.count >= self._limits.concurrent_rpcs_max:", "if False:"),
        large_requests_wait_in_any_number=("if self._bytes and ", "if False and "),
    ),
    *faults_in(
        f"{HUB}lanes.py",
        LANES,
        callers_share_each_batch_with_bulk=(
            "        self._bulk_went = bool(bulk)\n",
            "        self._bulk_went = False\n",
        ),
        batches_with_callers_teach_nothing=(
            "        self._costs.note(_weight(batch), seconds)\n",
            "        if all(one.bulk for one in batch):\n"
            "            self._costs.note(_weight(batch), seconds)\n",
        ),
        callers_have_no_time_of_their_own_after_a_report=(
            "            self._owed_seconds = seconds\n",
            "            self._owed_seconds = 0.0\n",
        ),
        a_report_never_gets_its_turn_beside_callers=(
            "        elif not self._bulk_went:\n            self._owed_seconds -= seconds\n",
            "",
        ),
        callers_share_the_batch_of_a_report=(
            "        reserved = 0 if alone else room if heavy else min(room // BULK_SHARE, most)\n",
            "        reserved = 0 if alone else min(room // BULK_SHARE, most)\n",
        ),
        a_report_goes_behind_a_light_command_in_its_batch=(
            "        if taken and queue[0].weight > room:\n            break\n",
            "",
        ),
        it_is_calm_as_soon_as_callers_are_under_way=(
            "        if not batch:\n            self._calm_down()\n",
            "        self._calm_down()\n",
        ),
        a_slow_commit_passes_for_slow_rows=(
            "        if spread > 1e-6 * self._squares:\n",
            "        if spread < 0:\n",
        ),
        batches_of_one_row_teach_nothing=(
            "            return NOT_ALIKE\n",
            "            return 1\n",
        ),
        bulk_is_long_again_at_once_after_a_caller=(
            "        beside = bool(self._interactive) or self.was_called_lately\n",
            "        beside = bool(self._interactive)\n",
        ),
        what_the_hub_asks_itself_makes_bulk_brief=(
            "        if not command.bulk and command.caller is not HUB:\n",
            "        if not command.bulk:\n",
        ),
    ),
    *faults_in(
        f"{HUB}driving.py",
        PAGES,
        the_last_page_of_held_facts_is_looked_at_for_ever=(
            '        self._page_end = found[-1] if len(found) == most else ""\n',
            "        self._page_end = found[-1] if found else self._page_end\n",
        ),
    ),
    *faults_in(
        f"{HUB}door/binding.py",
        PORTS,
        hubs_at_two_addresses_are_in_each_others_way=(
            "        meets = address in ours or EVERY_ADDRESS in (address, *ours)\n",
            "        meets = bool(address)\n",
        ),
        a_hub_at_every_address_is_in_nobodys_way=(
            "        meets = address in ours or EVERY_ADDRESS in (address, *ours)\n",
            "        meets = address in ours\n",
        ),
    ),
]
