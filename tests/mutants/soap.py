"""Faults in what speaks SOAP to a legacy ERP: doubles, doubt, clocks, and what is read."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import SDK, Mutant, faults_in

ERP: Final = (
    "tests/adapters/test_legacy_soap.py",
    "tests/adapters/test_legacy_soap_doubt.py",
)
LEGACY_SOAP: Final = "adapters/src/crossdock_adapters/legacy_soap/"

SOAP_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{LEGACY_SOAP}client.py",
        ERP,
        a_message_id_of_its_own_each_time=(
            'named = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:crossdock:{reference}")',
            "named = uuid.uuid4()",
        ),
        somebody_elses_document_is_ours=(
            "if any(each.reference != reference for each in found):",
            "if not all(each.reference for each in found):",
        ),
    ),
    *faults_in(
        f"{SDK}soap_client.py",
        ERP,
        an_answer_to_another_message_is_ours=(
            "if relates and relates != message_id:",
            "if relates is None:",
        ),
        any_fault_moves_the_clock=(
            "if told is None or self._named(said) not in CLOCK_CODES:",
            "if told is None or self._named(said) is None:",
        ),
        any_clock_is_followed=("and abs(ahead) <= most:", "and most is not None:"),
        a_clock_is_never_followed=("            self._ahead = ahead\n", "            pass\n"),
        a_fault_in_a_200_is_a_success=(
            "        if isinstance(said, Fault):\n",
            "        if isinstance(said, Fault) and answer.ok:\n"
            "            said = root\n"
            "        if isinstance(said, Fault):\n",
        ),
    ),
    *faults_in(
        f"{LEGACY_SOAP}adapter.py",
        ERP,
        what_was_taken_left_nothing=(
            "except (Retry, NeedsPerson) as trouble:",
            "except Retry as trouble:",
        ),
        known_and_not_found_is_done=(
            "    if isinstance(ended, NotFound):\n        raise OutcomeUnknown(",
            "    if isinstance(ended, NotFound):\n        return Confirmed([])\n"
            "        raise OutcomeUnknown(",
        ),
        the_cursor_goes_before_the_facts=(
            "        changes = [await _told(poll, vendor, item) for item in page]\n",
            "        await poll.advance(str(after + len(page)))\n"
            "        changes = [await _told(poll, vendor, item) for item in page]\n",
        ),
    ),
    *faults_in(
        f"{LEGACY_SOAP}translate.py",
        ERP,
        zeros_are_a_document_number=(
            "if document.action == BOOK and not said.number:",
            "if document.action == BOOK and not said.status:",
        ),
        the_second_document_is_nobodys=(
            "return replace(ours, duplicates=duplicates)",
            "return replace(ours, duplicates=())",
        ),
        any_refusal_is_a_rejection=(
            "if words == {Word.REJECTED}:",
            "if Word.REJECTED in words:",
        ),
    ),
    *faults_in(
        f"{SDK}local_times.py",
        ERP,
        the_first_day_of_the_calendar_is_a_moment=(
            "or not FIRST_YEAR <= found.year <= LAST_YEAR:",
            "or found.year > LAST_YEAR:",
        ),
    ),
    *faults_in(
        f"{SDK}error_table.py",
        (*ERP, "tests/adapters/test_error_table.py"),
        a_double_is_a_refusal=(
            "return KnownAlready(reason)",
            "return Reject(code, reason)",
        ),
    ),
    *faults_in(
        f"{SDK}xml_layout.py",
        ("tests/adapters/test_xml_layout.py",),
        nil_is_left_out=("        elif leaf.nil:\n", "        elif leaf.nil and text:\n"),
    ),
]
