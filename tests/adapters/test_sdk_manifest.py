"""Manifests, settings, configuration: everything wrong is said at once, no secret shown."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import ConfigError, load_adapters, load_sandboxes
from crossdock_adapters.sdk.hub_link import to_message
from crossdock_adapters.sdk.manifest import ManifestError, parse
from crossdock_adapters.sdk.outcomes import Confirmed
from crossdock_adapters.sdk.settings import Secrets, SettingsError, check
from sdk_tiny_adapter import MANIFEST, tiny_adapter


def test_a_good_manifest_is_read_in_full() -> None:
    """Operations, classes, limits, settings and grades arrive as declared."""
    manifest = parse(MANIFEST)
    assert (manifest.name, manifest.role, manifest.concurrency) == ("tiny", "CARRIER", 4)
    book = manifest.operations["book"]
    assert (book.operation_class, book.settle_after_seconds) == ("searchable", 1.0)
    assert manifest.settings["credential"].kind == "secret"
    assert manifest.grade() == "dock"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('role = "CARRIER"', 'role = "KING"', "role must be one of OMS"),
        ('owner = "tests"', "", "owner is missing"),
        ("concurrency = 4", "concurrency = 0", "limits.concurrency must be between 1"),
        ("concurrency = 4", "concurency = 4", "limits.concurency is not known"),
        ('class = "none"', 'class = "some"', "operations.misbehave.class must be one of keyed"),
        ("settle_after_seconds = 1", "", "settle_after_seconds is required when searchable"),
        ('class = "natural"', 'class = "keyed"', "key_life_seconds is required when keyed"),
        ('kind = "url"', 'kind = "uri"', "settings.base_url.kind must be one of"),
        ('kind = "secret"', 'kind = "secret"\ndefault = "x"', "a secret has no default"),
        ("default = 0.05", 'default = "soon"', "settings.pages_interval_seconds.default"),
        ('drains = "done"', 'drains = "maybe"', 'grades.dock.drains must be "done"'),
        ('drains = "done"', "", 'grades.dock.drains must be "done"'),
        ("[limits]", '[not_offered]\nbook = "no"\n[limits]', "not_offered.book is among the op"),
        ("[limits]", '[not_offered]\nopen_case = " "\n[limits]', "not_offered.open_case must be a"),
        ('name = "tiny"', 'name = "Tiny!"', "name must be lower case"),
        ('name = "tiny"', "name = ", "not TOML"),
    ],
)
def test_manifest_errors_say_where_and_what(old: str, new: str, words: str) -> None:
    """Each mistake is named by its place in the file and what is expected there."""
    assert old in MANIFEST
    with pytest.raises(ManifestError, match=words):
        parse(MANIFEST.replace(old, new, 1))


def test_all_manifest_errors_come_at_once() -> None:
    """Three mistakes, three problems, one error."""
    text = MANIFEST.replace('owner = "tests"', "").replace("CARRIER", "KING")
    with pytest.raises(ManifestError) as caught:
        parse(text.replace('class = "none"', 'class = "some"'))
    assert len(caught.value.problems) == 3


def test_wiring_must_match_the_manifest() -> None:
    """Missing and surplus functions are named; the complete adapter passes."""
    tiny_adapter([]).check()
    bare = Adapter(parse(MANIFEST))

    @bare.operation("dance")
    async def dance(work: object, vendor: object) -> Confirmed:
        return Confirmed()

    with pytest.raises(ManifestError) as caught:
        bare.check()
    text = str(caught.value)
    assert "no function is marked" in text
    assert "operation book has no function" in text
    assert "book is searchable and has no look_up" in text
    assert "operation dance is not in the manifest" in text
    with pytest.raises(ManifestError, match="twice"):
        bare.operation("dance")(dance)


def test_settings_are_typed_and_checked_at_once(tmp_path: Path) -> None:
    """Values arrive in their kind; unknown, missing and wrong ones are listed together."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    declared = parse(MANIFEST).settings
    good = {"base_url": "http://127.0.0.1:1/x", "credential": f"file:{secret}"}
    settings, secrets = check(declared, good)
    assert settings.text("base_url") == good["base_url"]
    assert settings.seconds("pages_interval_seconds") == 0.05
    assert secrets.text("credential") == "s3cret"
    with pytest.raises(SettingsError) as caught:
        check(declared, {"base_url": "ftp://x", "colour": "red"})
    text = str(caught.value)
    assert "colour is not a setting" in text
    assert "base_url must be of kind url" in text
    assert "credential is required" in text


def test_numbers_are_decimals() -> None:
    """A number setting never passes through a binary float."""
    text = MANIFEST + '\n[settings.rate]\nkind = "number"\ndescription = "r"\ndefault = "0.1"\n'
    settings, _ = check(
        {"rate": parse(text.replace("[settings.rate]", "[settings.rate]", 1)).settings["rate"]}, {}
    )
    assert settings.number("rate") == Decimal("0.1")


def test_secrets_are_never_shown_and_rotate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No repr, no error shows a value; a replaced file is read anew."""
    path = tmp_path / "secret"
    path.write_text("first-s3cret")
    secrets = Secrets({"a": f"file:{path}", "b": "env:CROSSDOCK_TEST_B", "c": "s3cret-itself"})
    assert secrets.text("a") == "first-s3cret"
    path.write_text("second-s3cret")
    assert secrets.text("a") == "second-s3cret"
    monkeypatch.setenv("CROSSDOCK_TEST_B", "b-s3cret")
    assert secrets.text("b") == "b-s3cret"
    assert "s3cret" not in repr(secrets)
    with pytest.raises(SettingsError) as caught:
        secrets.text("c")
    assert "s3cret" not in str(caught.value)
    monkeypatch.delenv("CROSSDOCK_TEST_B")
    with pytest.raises(SettingsError, match="CROSSDOCK_TEST_B is not set"):
        secrets.text("b")


GOOD = """
[hub]
address = "127.0.0.1:7443"
[bus]
url = "nats://127.0.0.1:4222"
[metrics]
port = 0
[endpoints.tiny]
token_file = "/tmp/token"
webhook_port = 0
[endpoints.tiny.settings]
base_url = "http://127.0.0.1:1"
"""


@pytest.mark.parametrize(
    ("address", "clear"),
    [
        ("http://vendor.example", True),
        ("http://user:s3cret@10.0.0.7/x", True),
        ("http://127.0.0.1.vendor.example", True),
        ("https://vendor.example", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
    ],
)
def test_secrets_never_travel_in_clear(address: str, clear: bool, tmp_path: Path) -> None:
    """An address beyond loopback is encrypted, or the deployment says that the network is."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    given = {"base_url": address, "credential": f"file:{secret}"}
    declared = parse(MANIFEST).settings
    if clear:
        with pytest.raises(SettingsError, match=r"base_url: http://.*allow_plaintext") as caught:
            check(declared, given)
        assert "s3cret" not in str(caught.value)
    settings, _ = check(declared, given, allow_plaintext=clear)
    assert settings.text("base_url") == address


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("nats://bus.example:4222", True),
        ("bus.example:4222", True),
        ("tls://a.example,nats://b.example", True),
        ("tls://bus.example:4222", False),
        ("nats://127.0.0.1:4222,nats://[::1]:4222", False),
    ],
)
def test_the_bus_never_travels_in_clear(url: str, clear: bool, tmp_path: Path) -> None:
    """The same of the bus: the problem names the setting and what to write instead."""
    path = tmp_path / "adapters.toml"
    text = GOOD.replace("nats://127.0.0.1:4222", url)
    path.write_text(text)
    if clear:
        with pytest.raises(ConfigError, match=r"\[bus\] url: nats://.* use tls://"):
            load_adapters(path)
        path.write_text(text.replace("[metrics]", "allow_plaintext = true\n[metrics]"))
    assert load_adapters(path).bus_url == url


def test_a_deployment_says_how_soon_a_lost_answer_is_looked_up(tmp_path: Path) -> None:
    """Proves that the file's seconds replace the manifest's for one operation of one endpoint, that
    the adapter itself stays as it is, and that what is not looked up, or no time, is refused."""
    path = tmp_path / "adapters.toml"
    path.write_text(GOOD + "[endpoints.tiny.settle_after_seconds]\nbook = 0.5\n")
    config = load_adapters(path).endpoints["tiny"]
    adapter = tiny_adapter([])
    measured = adapter.settling(config.settle_after_seconds)
    assert measured.manifest.operations["book"].settle_after_seconds == 0.5
    assert adapter.manifest.operations["book"].settle_after_seconds == 1.0
    assert measured.manifest.operations["ship"] == adapter.manifest.operations["ship"]
    with pytest.raises(ValueError, match="has none for ship; it has for book"):
        adapter.settling({"ship": 1.0})
    for wrong in ("0", "-1", "86401", '"soon"'):
        path.write_text(GOOD + f"[endpoints.tiny.settle_after_seconds]\nbook = {wrong}\n")
        with pytest.raises(ConfigError, match="tiny settle_after_seconds: book must be"):
            load_adapters(path)


def test_a_deployment_says_which_system_an_endpoint_stands_before(tmp_path: Path) -> None:
    """Proves that two endpoints of one adapter register with the systems that the file names, and
    so have a budget each, that without a name they share the adapter's, and how long one may be."""
    path = tmp_path / "adapters.toml"
    path.write_text(GOOD)
    plain = load_adapters(path).endpoints["tiny"]
    lines = GOOD.replace("[endpoints.tiny]", '[endpoints.tiny]\nsystem = "tiny-eu"')
    path.write_text(lines)
    named = load_adapters(path).endpoints["tiny"]
    adapter = tiny_adapter([])
    registered = [to_message(adapter.behind(each.system).manifest) for each in (plain, named)]
    assert [each.system for each in registered] == [adapter.manifest.system, "tiny-eu"]
    assert adapter.manifest.system != "tiny-eu"
    path.write_text(lines.replace("tiny-eu", "x" * 65))
    with pytest.raises(ConfigError, match="tiny: system must be text of at most 64 characters"):
        load_adapters(path)


def test_process_configuration(tmp_path: Path) -> None:
    """A good file is read; a bad one is refused with every problem and its place."""
    path = tmp_path / "adapters.toml"
    path.write_text(GOOD)
    config = load_adapters(path)
    assert config.endpoints["tiny"].adapter == "tiny"
    assert config.endpoints["tiny"].settings == {"base_url": "http://127.0.0.1:1"}
    path.write_text(
        GOOD.replace('address = "127.0.0.1:7443"', 'adress = "x"').replace(
            "webhook_port = 0", "webhook_port = 70000"
        )
    )
    with pytest.raises(ConfigError) as caught:
        load_adapters(path)
    text = str(caught.value)
    assert "hub: address must be text" in text
    assert "hub: adress is not known" in text
    assert "endpoints.tiny: webhook_port must be a port" in text
    with pytest.raises(ConfigError, match="No such file"):
        load_adapters(tmp_path / "nothing.toml")
    path.write_text("[sandboxes.ups]\nvendor_port = 0\n")
    assert load_sandboxes(path).sandboxes["ups"][0] == "ups"
    path.write_text("")
    with pytest.raises(ConfigError, match="at least one"):
        load_sandboxes(path)
