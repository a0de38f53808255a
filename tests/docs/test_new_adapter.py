"""The guide from nothing to a conforming adapter, followed by a newcomer outside our sources."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.sdk.conformance import (  # noqa: F401  each module adds its checks
    checks_endpoint,
    checks_inbound,
    checks_outbound,
)
from crossdock_adapters.sdk.conformance.bench import CHECKS
from crossdock_adapters.sdk.scaffold.creating import kinds
from fenced import blocks, code, document, rows, section
from newcomer import Newcomer

GUIDE = document("adapters/README.md")
HEADING = "From nothing to a conforming adapter"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Told:
    """How a command ends, and a pattern of what it says."""

    says: str = ""
    exits: int = 0


IN_THE_GUIDE = "rest"
# Commands of a README that stand in no fence.
INDENTED = re.compile(r"^    ((?:python|crossdock) .+)$", re.MULTILINE)
CONFORMS = re.compile(
    r"^pigeon conforms: (\d+) passed, 0 failed, (\d+) not applicable$", re.MULTILINE
)
CONFORM_SECONDS = 240.0
INSTALL = "python -m pip install --no-deps --no-build-isolation -e ."
# How the guide begins: with what runs these tests, and all that a newcomer has.
BEGINNING = ["make setup", ". .venv/bin/activate", "cd .."]
# Each command of the guide after that, in its order.
COMMANDS: list[tuple[str, Told]] = [
    ("crossdock adapter new pigeon --kind rest", Told(r"^pigeon: 14 files in pigeon, by rest")),
    ("cd pigeon", Told()),
    (INSTALL, Told(r"^Successfully installed crossdock-adapter-pigeon-0\.1\.0$")),
    (
        "crossdock adapter conform pigeon --check confirmed --check reply_lost",
        Told(
            r"^pigeon passes 2 of \d+ checks, the others were not run: 2 passed, 0 failed, 0 not "
        ),
    ),
    ("python -m pytest", Told(r"=+ 2 passed in ")),
    (
        """sed -i 's/^class = "searchable"/class = "natural"/' """
        "src/crossdock_adapter_pigeon/adapter.toml",
        Told(),
    ),
    (
        "crossdock adapter conform pigeon --check declared_class",
        Told(r"FAILED: .*natural after reply_lost: 2 effects", 1),
    ),
    (
        """sed -i 's/^class = "natural"/class = "searchable"/' """
        "src/crossdock_adapter_pigeon/adapter.toml",
        Told(),
    ),
    ("umask 077", Told()),
    (
        """python -c 'import secrets; print("xd_pigeon_" + secrets.token_urlsafe(32))' """
        "> pigeon.token",
        Told(),
    ),
    (
        """printf '{"pigeon": {"role": "CARRIER", "token_sha256": ["%s"]}}\\n' "$(printf %s """
        """"$(cat pigeon.token)" | sha256sum | cut -d' ' -f1)" > endpoints.json""",
        Told(),
    ),
    (
        "export CROSSDOCK_DATA_DIRECTORY=data CROSSDOCK_ENDPOINTS_FILE=endpoints.json "
        "CROSSDOCK_NATS_PORT=4222",
        Told(),
    ),
    (
        "export CLIENT_ID=sandbox-client CLIENT_SECRET=sandbox-secret "
        "CALLBACK_KEY=sandbox-callback-key",
        Told(),
    ),
]
FREE_PORTS = {
    "CROSSDOCK_LISTEN": "127.0.0.1:0",
    "CROSSDOCK_NATS_PORT": "0",
    "CROSSDOCK_ADDRESS_FILE": "hub.json",
}
# Started one after another, each in a terminal of its own; the file that says that it is there.
PROCESSES = {
    "crossdock hub serve": "hub.json",
    "crossdock adapter sandbox --config sandboxes.toml": "sandboxes.json",
    "crossdock adapter run --config adapters.toml": "adapters.json",
}


def written() -> list[str]:
    """The commands of the guide's section."""
    text = section(GUIDE, HEADING)
    return [c for block in blocks(GUIDE, "sh") if block.text in text for c in block.commands]


def test_every_command_of_the_guide_is_run() -> None:
    """Proves that the guide has no command that the newcomer below does not follow, in order."""
    assert written() == [*BEGINNING, *(command for command, _ in COMMANDS), *PROCESSES]


def test_a_newcomer_follows_the_guide(tmp_path: Path) -> None:
    """Proves that somebody with what `make setup` makes, no network and an empty folder has a
    conforming adapter by the guide's commands alone, that a wrong class is found out as the guide
    says, and that the endpoint serves at a hub beside its sandbox."""
    newcomer = Newcomer(tmp_path)
    for command, told in COMMANDS:
        followed(newcomer, command, told)
    config = newcomer.folder / "adapters.toml"
    for file in (config, newcomer.folder / "sandboxes.toml"):
        file.write_text(re.sub(r"(_port = )\d+", r"\g<1>0", file.read_text("utf-8")), "utf-8")
    newcomer.environment |= FREE_PORTS
    with contextlib.ExitStack() as running:
        for command, file in PROCESSES.items():
            running.enter_context(newcomer.serving(command, file))
            config.write_text(by_free_ports(config.read_text("utf-8"), newcomer.told(file)))

        def serves() -> bool:
            state: str = newcomer.told("adapters.json")["endpoints"]["pigeon"]["state"]
            return state == "serving"

        newcomer.wait(serves, newcomer.folder / "adapters.json.log")


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != IN_THE_GUIDE])
def test_a_newcomer_follows_the_readme_of_each_kind(kind: str, tmp_path: Path) -> None:
    """Proves for the kinds that the guide does not go through that what `new` writes installs with
    pip and without a network, passes every check that it is not excused from, and has its tests
    found: by the commands of the README that it writes."""
    newcomer = Newcomer(tmp_path)
    followed(newcomer, f"crossdock adapter new pigeon --kind {kind}", Told(rf"by {kind}\b"))
    followed(newcomer, "cd pigeon", Told())
    install, conform, check = INDENTED.findall((newcomer.folder / "README.md").read_text("utf-8"))
    followed(newcomer, install, Told(r"^Successfully installed crossdock-adapter-pigeon-0\.1\.0$"))
    assert conform == "crossdock adapter conform pigeon"
    done = newcomer.run(conform, CONFORM_SECONDS)
    counted = CONFORMS.search(done.stdout)
    assert counted is not None and done.returncode == 0, done.stdout
    assert sum(map(int, counted.groups())) >= len(CHECKS), done.stdout
    # What is killed on purpose is nothing to warn of, and nothing of ours.
    assert "goaway" not in done.stdout
    # Its tests run the checks once more: here they are found, and the short one of them is run.
    followed(newcomer, f"{check} -k lowest_grade", Told(r"=+ 1 passed, 1 deselected in "))


def by_free_ports(config: str, told: Any) -> str:
    """The configuration with the addresses that hub and sandbox have here."""
    if "grpc" in told:
        config = config.replace("127.0.0.1:7443", told["grpc"])
        config = config.replace("nats://127.0.0.1:4222", told["nats_url"])
    if "sandboxes" in told:
        vendor = told["sandboxes"]["pigeon"]["vendor_url"]
        config = config.replace("http://127.0.0.1:8090", vendor)
    return config


def followed(newcomer: Newcomer, command: str, told: Told) -> None:
    """Run a command, and see that it ends and says what it should."""
    done = newcomer.run(command)
    assert done.returncode == told.exits, f"{command}\n{done.stdout}"
    assert re.search(told.says, done.stdout, re.MULTILINE), f"{command}\n{done.stdout}"


def test_the_table_of_kinds_is_what_the_command_knows() -> None:
    """Proves that the guide promises no kind that is refused, and hides none that is there."""
    table = [kind for row in rows(section(GUIDE, HEADING)) for kind in code(row[0])]
    assert sorted(table) == kinds()
