"""Faults in what speaks to Salesforce (doubles, doubt, places, statuses), and in GLS's day."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant, faults_in

SALESFORCE: Final = "adapters/src/crossdock_adapters/salesforce/"
GLS: Final = "adapters/src/crossdock_adapters/gls/"
STAGES: Final = ("tests/adapters/test_salesforce_stages.py",)
RETURNS: Final = ("tests/adapters/test_salesforce_returns.py",)
WRITES: Final = (
    "tests/adapters/test_salesforce_writes.py",
    "tests/adapters/test_salesforce_translate.py",
)
EVENTS: Final = (
    "tests/adapters/test_salesforce.py",
    "tests/adapters/test_salesforce_trouble.py",
)
LIMITS: Final = ("tests/adapters/test_gls_limits.py",)

ORDER_AND_QUOTA_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{SALESFORCE}stages.py",
        STAGES,
        a_category_without_a_row_asks_for_nothing=(
            "        if stage is None:\n            raise Unreadable(",
            "        if stage is None:\n            return Stage.NOT_YET\n"
            "        if not stage:\n            raise Unreadable(",
        ),
        a_category_goes_before_its_status=(
            "codes = [(STATUS, status), (CATEGORY, category), ",
            "codes = [(CATEGORY, category), (STATUS, status), ",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}returns.py",
        RETURNS,
        a_return_is_submitted_again=(
            "        if _is_done(wanted, items, draft):\n",
            "        if not _before(wanted, draft):\n",
        ),
        somebody_elses_return_is_ours=(
            "    if since == [line.quantity for line in wanted.lines]:\n",
            "    if any(since):\n        return True\n    if since is wanted:\n",
        ),
        a_foreign_return_is_overlooked=(
            "    if any(since):\n        told",
            "    if all(since):\n        told",
        ),
        a_return_goes_over_what_may_come_back=(
            "        if items.managed and line.quantity > returnable:\n",
            "        if items.managed and line.quantity < 0:\n",
        ),
        an_unmanaged_order_is_returned_by_the_action=(
            "        if not items.managed:\n",
            "        if items.managed is None:\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}adapter.py",
        (*WRITES, *STAGES),
        a_cancelled_fulfillment_order_is_written=(
            "    if _stage(found, vendor) is Stage.CANCELLED:\n        raise Reject(",
            "    if _stage(found, vendor) is None:\n        raise Reject(",
        ),
        part_of_an_order_fulfills_it=(
            "    done = done and ours.has_all_left and ",
            "    done = done and bool(ours.id) and ",
        ),
        a_late_pick_moves_back=(
            "    if not _is_past(work, vendor, found, setting):\n",
            "    if found.order:\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}translate.py",
        WRITES,
        a_shortage_is_cancelled_again=(
            "        rest = wanted - (had - has)\n",
            "        rest = wanted\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}client.py",
        WRITES,
        an_action_with_errors_is_done=(
            "        if says_failure(answer):\n",
            "        if says_failure(None):\n",
        ),
        a_composite_part_that_failed_is_done=(
            "            if not 200 <= status < 300 or says_failure(content)\n",
            "            if not status or says_failure(content)\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}inbox.py",
        EVENTS,
        a_place_is_kept_before_its_facts=(
            "            reached = await self._told(came, place)\n",
            "            if came.events:\n"
            "                early = Place(came.events[-1].replay_id, place.time)\n"
            "                raw = translate_events.place_bytes(early)\n"
            "                version = await self._cursors.put_cursor(name, raw, version)\n"
            "            reached = await self._told(came, place)\n",
        ),
        what_was_missed_is_not_read_again=(
            "        await self._gaps.widen(since, self._overlap)\n",
            "        assert since\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}orders.py",
        EVENTS,
        an_order_that_was_missed_is_passed_over=(
            "        elif is_due and stage is Stage.WORKED_ON:\n",
            "        elif is_due and stage is None:\n",
        ),
        a_cancellation_meanwhile_is_overlooked=(
            "            if self._stage(found) is Stage.CANCELLED:\n",
            "            if self._stage(found) is None:\n",
        ),
    ),
    *faults_in(
        f"{GLS}quota.py",
        LIMITS,
        a_call_is_made_that_others_counted_away=(
            "            except CursorMoved:\n                continue\n",
            "            except CursorMoved:\n                pass\n",
        ),
        polling_spends_the_look_ups_share=(
            "        return self._calls_per_day - self._for_look_ups\n",
            "        return self._calls_per_day\n",
        ),
        no_connection_costs_a_call=("        except Unreachable:\n", "        except EOFError:\n"),
        a_call_that_may_have_come_is_given_back=(
            "        except Unreachable:\n",
            "        except Retry:\n",
        ),
        each_clock_has_a_day_of_its_own=(
            "        if today <= self.day <= today + timedelta(days=1):\n",
            "        if self.day == today:\n",
        ),
        a_clock_far_ahead_ends_polling=(
            "        if today <= self.day <= today + timedelta(days=1):\n",
            "        if today <= self.day:\n",
        ),
    ),
]
