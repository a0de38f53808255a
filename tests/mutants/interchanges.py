"""Faults in what reads, answers and remembers X12 interchanges."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import SDK, Mutant, faults_in

LTL_FREIGHT: Final = "adapters/src/crossdock_adapters/ltl_freight/"
FREIGHT: Final = (
    "tests/adapters/test_ltl_freight_translate.py",
    "tests/adapters/test_ltl_freight.py",
    "tests/adapters/test_ltl_freight_mailbox.py",
    "tests/adapters/test_ltl_freight_tender.py",
    "tests/adapters/test_ltl_freight_invoices.py",
    "tests/adapters/test_ltl_freight_repeats.py",
    "tests/adapters/test_ltl_freight_faults.py",
)
X12: Final = ("tests/adapters/test_x12.py", "tests/adapters/test_x12_receiving.py")

INTERCHANGE_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{SDK}x12/envelopes.py",
        X12,
        a_group_count_is_not_compared=(
            "if trailer.count(1) != len(groups):",
            "if trailer.count(1) < 0:",
        ),
        an_interchange_ends_with_any_number=(
            "if trailer.count(2) != int(header.raw(13)):",
            "if trailer.count(2) < 0:",
        ),
        a_set_count_is_one_off=(
            "if not _says(trailer, 1, len(body) + 2):",
            "if not _says(trailer, 1, len(body) + 1):",
        ),
        a_set_number_may_repeat=(
            "elif found.control_number in numbers:",
            "elif found.control_number in ():",
        ),
    ),
    *faults_in(
        f"{SDK}x12/envelopes.py",
        ("tests/adapters/test_x12_records.py",),
        whatever_has_one_width_is_joined=(
            "if found is None or not found.inside(_segments(payload)):",
            "if found is None:",
        ),
        only_what_cannot_be_read_is_joined=(
            "if found is None or not found.inside(_segments(payload)):",
            "if True:",
        ),
    ),
    *faults_in(
        f"{SDK}x12/records.py",
        ("tests/adapters/test_x12_records.py",),
        a_last_line_may_be_longer_than_a_record=(
            "or len(last) > len(records[0]):",
            "or False:",
        ),
        a_last_record_is_never_full=(
            "len(last) > len(records[0])",
            "len(last) >= len(records[0])",
        ),
        records_may_have_any_width=("if len({len(one) for one in records}) != 1", "if not records"),
        a_letter_of_another_encoding_is_a_break=(
            "not letter or len(records) >= SURE_RECORDS",
            "True",
        ),
    ),
    *faults_in(
        f"{SDK}x12/envelopes.py",
        ("tests/adapters/test_ltl_freight_standard.py",),
        a_release_may_be_any_text=(
            "if RELEASE.fullmatch(self.written_release) is None:",
            'if self.written_release == "":',
        ),
    ),
    *faults_in(
        f"{SDK}x12/segments.py",
        X12,
        a_point_is_not_implied=(".scaleb(-decimals) if found", ".scaleb(0) if found"),
        a_delimiter_is_written_as_data=(
            "if _CONTROL.search(element) or any(one in own for one in element):",
            "if _CONTROL.search(element):",
        ),
    ),
    *faults_in(
        f"{SDK}x12/isa.py",
        X12,
        an_old_version_repeats=(
            "repeats = elements[11] >= FIRST_REPEATING and not repetition.isalnum()",
            "repeats = not repetition.isalnum()",
        ),
    ),
    *faults_in(
        f"{SDK}x12/acknowledgments.py",
        X12,
        a_broken_set_is_accepted=(
            "status = Status.REJECTED if said else Status.ACCEPTED",
            "status = Status.ACCEPTED",
        ),
        an_acknowledgement_is_acknowledged=(
            "if group.functional_id == FUNCTIONAL_ID:",
            'if group.functional_id == "":',
        ),
    ),
    *faults_in(
        f"{SDK}x12/receiving.py",
        X12,
        other_content_is_a_duplicate=(
            "same = known.digest == content",
            "same = True",
        ),
        old_numbers_are_forgotten=(
            "if any(each.has(number) for each in record.days):",
            "if record.days and number < 0:",
        ),
        a_full_record_is_not_refused=("    if fullness > 1:\n", "    if fullness > 9:\n"),
        a_gap_is_not_noticed=(
            "gap = () if first or not follows else _missed(record, ahead)",
            "gap: tuple[int, ...] = ()",
        ),
        an_old_count_is_owed=(
            "before = record.skipped if follows or late else ()",
            "before = record.skipped",
        ),
    ),
    *faults_in(
        f"{SDK}edi_mailbox.py",
        FREIGHT,
        a_conflict_is_told=(
            "if decision.verdict is Verdict.CONFLICT:",
            "if decision.verdict is None:",
        ),
        a_number_is_kept_before_it_is_told=(
            "        told = await _told(interchange, tell, refused)\n        for payload",
            "        await poll.cursors.put_cursor(RECORD, bytes(), version)\n"
            "        told = await _told(interchange, tell, refused)\n        for payload",
        ),
        a_fault_in_reading_stops_the_mailbox=(
            "    except Exception as fault:\n",
            "    except CursorMoved as fault:\n",
        ),
        an_invoice_is_held_with_its_file=(
            "            if said.alone:\n",
            "            if said.alone and said.faults:\n",
        ),
        a_stranger_is_told=("        if stranger:\n", "        if not stranger and stranger:\n"),
        half_a_file_is_held_at_once=(
            "            if self._is_young(fact):\n",
            "            if self._is_young(fact) and not fact:\n",
        ),
    ),
    *faults_in(
        f"{LTL_FREIGHT}earlier_calls.py",
        FREIGHT,
        a_taken_pro_is_always_ours=(
            "        return _shown(work, history)\n    if taken",
            "        return _shown(work, history)\n    if history.references:\n"
            "        return _adopted(work)\n    if taken",
        ),
        what_was_cancelled_is_adopted=(
            "    if history.cancelled:\n",
            "    if history.cancelled and not history.known:\n",
        ),
        a_purchase_order_in_doubt_parks=(
            "(history.references or not work.in_doubt)",
            "(history or not work.in_doubt)",
        ),
        a_taken_purchase_order_is_a_taken_pro=(
            "    if taken is Taken.PRO and not verified:\n",
            "    if not verified:\n",
        ),
    ),
    *faults_in(
        f"{LTL_FREIGHT}adapter.py",
        FREIGHT,
        a_refused_repeat_refuses_the_first=(
            "            raise\n        # It is said of the repeat",
            "            raise\n        raise refused\n        # It is said of the repeat",
        ),
        a_cancellation_in_doubt_parks=(
            "    if work.in_doubt or len(",
            "    if (work.in_doubt and refusal) or len(",
        ),
        what_another_unit_cancelled_parks=(
            "work.in_doubt or len(work.event.shipment.packages) > 1:",
            "work.in_doubt:",
        ),
        a_number_is_taken_for_what_cannot_be_said=(
            '        _request(work, "", bol_rules(work.settings))\n',
            "        assert vendor.numbers\n",
        ),
    ),
    *faults_in(
        f"{LTL_FREIGHT}goods.py",
        ("tests/adapters/test_hazardous_goods.py",),
        what_nobody_said_is_declared=(
            "if choice == HARMLESS or not each",
            "if choice or not each",
        ),
    ),
    *faults_in(
        f"{LTL_FREIGHT}adapter.py",
        ("tests/adapters/test_hazardous_goods.py",),
        dangerous_goods_are_booked_again=(
            "        harmless = await goods.harmless(work)\n",
            "        vouched: frozenset[str] = frozenset()\n"
            "        harmless = vouched if work.in_doubt else await goods.harmless(work)\n",
        ),
    ),
    *faults_in(
        f"{SDK}hazardous_goods.py",
        ("tests/adapters/test_hazardous_goods.py",),
        what_parked_is_not_read_again=("    if not word.danger:\n", "    if word:\n"),
    ),
    *faults_in(
        f"{LTL_FREIGHT}translate_status.py",
        FREIGHT,
        a_missing_code_is_no_local_time=(
            'if code in ("", LOCAL):',
            "if code in (LOCAL,):",
        ),
        both_statuses_are_taken=("    if own and appointment:\n", "    if own and not own:\n"),
    ),
    *faults_in(
        f"{LTL_FREIGHT}translate_tender.py",
        FREIGHT,
        an_accessorial_is_dropped=(
            "    if asked and not rules.notes:\n",
            "    if asked and not rules:\n",
        ),
    ),
    *faults_in(
        f"{LTL_FREIGHT}tendering.py",
        FREIGHT,
        an_acknowledgement_books=(
            "    if found.answer == ACCEPTED:\n",
            "    if found.answer == ACCEPTED or found.syntax:\n",
        ),
        what_cannot_be_written_takes_a_number=(
            "    mailbox.rendered(TENDERS, Taken(1, now), [made])\n",
            "",
        ),
        silence_is_not_noted=("        await _give_up(work)\n", ""),
    ),
    *faults_in(
        f"{SDK}edi_replies.py",
        ("tests/adapters/test_edi_replies.py", *FREIGHT),
        a_tender_is_out_before_it_is_noted=(
            "            taken = await mailbox.number(work.sequences, key)\n",
            "            taken = await mailbox.number(work.sequences, key)\n"
            "            await mailbox.publish(functional_id, taken, sets)\n",
        ),
        an_answered_one_makes_room=(
            "if each.may_go(sent.sent)), None)",
            "if not each.open), None)",
        ),
        an_open_one_goes_like_one_that_is_over=(
            "(KEPT_OPEN if self.open else KEPT_OVER)",
            "KEPT_OVER",
        ),
        a_second_acknowledgement_is_not_looked_at=(
            "    if before and Status(before)",
            "    if not before and Status(before)",
        ),
        what_is_late_goes_out=("            _check_time(found, within)\n", "            pass\n"),
        what_cannot_be_written_is_noted=(
            "            mailbox.rendered(functional_id, Taken(1, now), sets(now))\n",
            "            assert mailbox\n",
        ),
        what_is_noted_counts_as_out=("        if found.is_out:\n", "        if found:\n"),
        another_number_is_the_same_answer=(
            "(counted(found.reason) == counted(cut) or not reason_counts)",
            "(found.reason or not reason_counts)",
        ),
        the_last_answer_stands=("    if found.answer:\n", "    if found.answer and not word:\n"),
    ),
    *faults_in(
        f"{LTL_FREIGHT}translate_invoice.py",
        FREIGHT,
        charges_need_not_add_up=("Decimal(0)) != net:", "Decimal(0)) != net and not charges:"),
        what_is_sent_again_is_answered_from_memory=("/{billed.pro}/{sent}", "/{billed.pro}"),
    ),
]
