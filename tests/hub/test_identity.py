"""Who is who: tokens, roles, scopes and the file that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.identity import ROLES, Identities, Scope, token_digest
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sets(st.sampled_from(("a", "b", "c")), max_size=3)
SCOPES = st.builds(Scope, NAMES.map(frozenset), NAMES.map(frozenset), NAMES.map(frozenset))
DIMENSIONS = ("BUSINESS_UNIT", "LOCATION", "CARRIER")


def written(path: Path, document: Any) -> Path:
    """An endpoints file with this content."""
    file = path / "endpoints.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def entry(token: str = "secret", role: str = "OMS", **more: Any) -> dict[str, Any]:
    """An endpoint in the file."""
    return {"role": role, "token_sha256": [token_digest(token)], **more}


def test_a_token_leads_to_its_endpoint(tmp_path: Path) -> None:
    """Proves that role and scope come from the file, by nothing but the token."""
    scope = {"business_units": ["eu"], "location_numbers": ["DC1"], "carrier_codes": ["UPSN"]}
    file = written(tmp_path, {"oms": entry("one"), "wms": entry("two", "WMS", scope=scope)})
    known = Identities.load(file)
    caller = known.identify("Bearer two")
    assert caller is not None
    assert known.identify("bearer two") == caller, "the scheme is written in any case"
    assert (caller.endpoint, caller.role) == ("wms", "WMS")
    assert caller.scope.location_numbers == {"DC1"}
    assert caller.scope.business_units == {"eu"}
    assert caller.scope.carrier_codes == {"UPSN"}
    assert [c.endpoint for c in known.callers] == ["oms", "wms"]


def test_an_operator_says_which_adapter_an_endpoint_is(tmp_path: Path) -> None:
    """Proves that the file may bind an endpoint to one adapter, and let versions of its mappings
    hold again; and that what is no text is refused by name."""
    more: dict[str, Any] = {"adapter": "ups", "older_defaults": ["2026-11.1"]}
    (caller,) = Identities.load(written(tmp_path, {"ups": entry(**more)})).callers
    assert caller.adapter == "ups"
    assert caller.older_defaults == {"2026-11.1"}
    mistakes: list[dict[str, Any]] = [{"adapter": ["ups"]}, {"older_defaults": "2026-11.1"}]
    for wrong in mistakes:
        with pytest.raises(
            ConfigurationError, match=f"endpoint ups: {next(iter(wrong))} has to be"
        ):
            Identities.load(written(tmp_path, {"ups": entry(**wrong)}))


WRONG = ("Bearer", "Bearer ", "Bearer  secret", "Basic secret", "secret")
ALMOST = ("Bearer SECRET", "Bearer secret ", "Bearer s\x00ecret")


@pytest.mark.parametrize("header", [None, "", *WRONG, *ALMOST, f"Bearer {token_digest('secret')}"])
def test_nobody_else_is_let_in(tmp_path: Path, header: str | None) -> None:
    """Proves that what is no token of the file is nobody, the stored digest included."""
    assert Identities.load(written(tmp_path, {"oms": entry()})).identify(header) is None


def test_tokens_can_be_rotated(tmp_path: Path) -> None:
    """Proves that an endpoint may have an old and a new token at once, and is one endpoint."""
    both = {"role": "OMS", "token_sha256": [token_digest("old"), token_digest("new").upper()]}
    known = Identities.load(written(tmp_path, {"oms": both}))
    assert known.identify("Bearer old") == known.identify("Bearer new") is not None
    assert len(known.callers) == 1


def test_the_file_holds_no_token(tmp_path: Path) -> None:
    """Proves that neither the file nor what is loaded from it tells a token."""
    file = written(tmp_path, {"oms": entry("very-secret")})
    known = Identities.load(file)
    assert "very-secret" not in file.read_text()
    assert "very-secret" not in repr(vars(known))


SHORT = {"role": "OMS", "token_sha256": ["abc"]}
BROKEN = {
    "no JSON": "{",
    "a list": [],
    "an endpoint that is a text": {"oms": "OMS"},
    "no role": {"oms": {"token_sha256": []}},
    "an unknown role": {"oms": entry(role="KING")},
    "the hub's role": {"oms": entry(role="HUB")},
    "the hub's name": {"hub": entry()},
    "a name no subject can hold": {"oms.eu": entry()},
    "a name with a wildcard": {"*": entry()},
    "a token instead of its digest": {"oms": {"role": "OMS", "token_sha256": ["secret"]}},
    "a short digest": {"oms": SHORT},
    "digests that are a text": {"oms": {"role": "OMS", "token_sha256": token_digest("secret")}},
    "one token for two": {"oms": entry(), "wms": entry(role="WMS")},
    "a scope that is a list": {"oms": entry(scope=["DC1"])},
    "a scope that is a text": {"oms": entry(scope={"location_numbers": "DC1"})},
    "a scope with another value": {"oms": entry(scope={"location_numbers": [1]})},
    "an empty scope value": {"oms": entry(scope={"location_numbers": [""]})},
    "a misspelled scope": {"oms": entry(scope={"locations": ["DC1"]})},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_in_words(tmp_path: Path, what: str) -> None:
    """Proves that what would let in too many, or nobody, stops the start with the file's name."""
    file = written(tmp_path, BROKEN[what])
    with pytest.raises(ConfigurationError) as told:
        Identities.load(file)
    assert str(file) in str(told.value)
    assert "secret" not in str(told.value)


def test_a_missing_file_is_refused_in_words(tmp_path: Path) -> None:
    """Proves that the message says which file, and how to get one."""
    with pytest.raises(ConfigurationError, match="crossdock dev"):
        Identities.load(tmp_path / "none.json")


def test_every_role_of_the_contract_but_the_hub_can_be_given(tmp_path: Path) -> None:
    """Proves that a new role of the contract needs no change here."""
    document = {role.lower(): entry(role, role) for role in ROLES}
    assert {c.role for c in Identities.load(written(tmp_path, document)).callers} == ROLES


# Scopes


@given(scope=SCOPES, values=st.dictionaries(st.sampled_from(DIMENSIONS), NAMES.map(frozenset)))
def test_a_scope_covers_what_agrees_in_every_dimension_both_name(
    scope: Scope, values: dict[str, frozenset[str]]
) -> None:
    """Proves the rule: nothing named on one side leaves the dimension open."""
    mine = (scope.business_units, scope.location_numbers, scope.carrier_codes)
    expected = all(
        not allowed or not values.get(name) or bool(allowed & values[name])
        for name, allowed in zip(DIMENSIONS, mine, strict=True)
    )
    assert scope.covers(values) is expected


@given(left=SCOPES, right=SCOPES)
def test_scopes_that_do_not_meet_share_no_object(left: Scope, right: Scope) -> None:
    """Proves that what two endpoints of disjoint scopes both cover names no value at all."""
    assert left.meets(right) == right.meets(left)
    for unit in "abc":
        for place in "abc":
            for carrier in "abc":
                sets = (frozenset({unit}), frozenset({place}), frozenset({carrier}))
                values = dict(zip(DIMENSIONS, sets, strict=True))
                if not left.meets(right):
                    assert not (left.covers(values) and right.covers(values))


def test_an_empty_scope_is_everything() -> None:
    """Proves that only a scope without any line is everything."""
    assert Scope().is_everything
    assert not Scope(carrier_codes=frozenset({"UPSN"})).is_everything
