"""Every command and snippet of the documents, run as a reader runs them, or mapped to its test."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fenced import Block, blocks, document
from running_dev import BIN, STOP_SECONDS, Dev, environment, makefile_recipe
from source_files import ROOT

DOCUMENTS = (
    "README.md",
    "docs/architecture.md",
    "docs/contracts.md",
    "docs/reliability.md",
    "docs/operations.md",
    "docs/performance.md",
)
README = "README.md"
SERVE_SECONDS = 180.0
# At least: one package for each of the orders that its lines place, which are 1, 10 and 3.
LABELS_SOLD = 14
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True)
class Run:
    """Run it beside the dev of this file. says: a pattern its output has to match."""

    says: str = ""
    exits: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Mapped:
    """Run elsewhere. recipe: what make runs for it; test: the file (or a pattern) and function."""

    test: str
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Serve:
    """A process that runs until SIGTERM; `test` in this file starts it."""

    test: str


MAKE_TOKEN = (
    """python3 -c 'import secrets; print("xd_oms_" + secrets.token_urlsafe(32))' """
    "> oms.token"
)
MAKE_ENDPOINTS = (
    """printf '{"oms": {"role": "OMS", "token_sha256": ["%s"]}}\\n' "$(printf %s """
    """"$(cat oms.token)" | sha256sum | cut -d' ' -f1)" > endpoints.json"""
)

SET_CODE = (
    "crossdock map set ups STATUS QZ --type I --means IN_TRANSIT "
    """--reason "the carrier's support, 3 March\""""
)

# These name something that stopped; test_stopped.py has it, and types them with its id.
BACK_UP = "crossdock hub back-up /backups/crossdock-$(date -u +%Y%m%dT%H%M%SZ).db"
REFUSED = "tests/docs/test_stopped.py::test_each_word_ends_what_was_refused"
HELD = "tests/docs/test_stopped.py::test_a_held_fact_is_driven_and_ended"
ARCHIVED = "tests/hub/test_archive_command.py::test_it_is_looked_at_then_done_then_found"

# Each line of what installs hub and adapters for good: nobody has the right to do that in a test.
INSTALLS = "tests/docs/test_service_files.py::test_the_commands_that_install_it_name_what_is_there"
INSTALLING = (
    "python3 -m venv /opt/crossdock",
    "/opt/crossdock/bin/pip install --require-hashes --requirement requirements.lock",
    (
        "/opt/crossdock/bin/pip install --no-deps --no-build-isolation ./clients/python "
        "./hub ./adapters"
    ),
    "useradd --system --shell /usr/sbin/nologin crossdock",
    "useradd --system --shell /usr/sbin/nologin crossdock-adapters",
    "install --mode 0644 deploy/systemd/* /etc/systemd/system/",
    "systemctl daemon-reload",
    "systemctl enable --now crossdock-hub crossdock-adapters@carriers crossdock-back-up.timer",
    "podman build --file deploy/container/Containerfile --tag crossdock .",
    "podman run --detach --name crossdock-hub --stop-timeout 30 --publish 7443:7443 \\",
    "--volume crossdock-data:/var/lib/crossdock --volume /etc/crossdock:/etc/crossdock:ro \\",
    "--env CROSSDOCK_LISTEN=0.0.0.0:7443 \\",
    "--env CROSSDOCK_TLS_CERTIFICATE_FILE=/etc/crossdock/hub.pem \\",
    "--env CROSSDOCK_TLS_KEY_FILE=/etc/crossdock/hub.key crossdock",
    "podman run --detach --name crossdock-carriers --stop-timeout 20 \\",
    "--volume /etc/crossdock:/etc/crossdock:ro \\",
    "crossdock adapter run --config /etc/crossdock/adapters-carriers.toml",
)

# Each command of the documents, word by word. A new one fails until it stands here.
COMMANDS: dict[str, Run | Mapped | Serve] = {
    # README, on top and the first five minutes
    "make demo": Mapped("tests/*/test_*demo*.py", ".venv/bin/crossdock demo"),
    "make test": Mapped(
        "tests/docs/test_readme.py", ".venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder"
    ),
    "make dev": Mapped("tests/docs/test_readme.py::dev", ".venv/bin/crossdock dev"),
    ". .venv/bin/activate": Mapped("tests/docs/test_readme.py::dev"),
    "crossdock trigger order --follow": Run(r"WEB-000001: Complete: delivered"),
    "crossdock trace WEB-000001": Run(r"^Complete: delivered"),
    "crossdock deliveries --endpoint netsuite": Run(r"create_sales_order +CONFIRMED .*sales_order"),
    'crossdock endpoint pause netsuite --reason "month end"': Run(r"netsuite paused"),
    "crossdock trigger order --count 10": Run(r"10 orders released"),
    "crossdock endpoint list": Run(r"netsuite +ERP +(PAUSED +\d\d|ACTIVE)"),
    "crossdock endpoint resume netsuite": Run(r"netsuite resumed"),
    "crossdock sandbox fault ups reply_lost --operation ship --count 3": Run(r"3 times"),
    "crossdock trigger order --count 3 --follow": Run(r"^WEB-\d+: .*"),
    "crossdock deliveries --endpoint ups --operation buy_label": Run(r"tracking_number 1Z"),
    "crossdock sandbox calls ups --operation ship": Run(r"reply_lost +yes"),
    **{
        line: Mapped("tests/end_to_end/test_full_network.py::test_an_operator_follows_one_order")
        for line in (
            "crossdock trigger order --count 12 --follow",
            "crossdock trigger order --carrier GLS --business-unit retail-eu --follow",
            """crossdock sandbox command salesforce fulfillment_order '{"number": "0001"}'""",
            "crossdock trace SF-0001",
        )
    },
    **{
        line: Mapped(
            "tests/end_to_end/test_full_network.py::test_a_carriers_invoice_is_audited_and_booked"
        )
        for line in (
            "crossdock trigger order --carrier LTL --business-unit wholesale-us --follow",
            "crossdock sandbox command ltl-freight invoice '{\"pro\": \"500000001\", "
            """"net": "525.25", "lines": {"": "480.25", "LFT": "45.00"}}'""",
            "crossdock freight list",
            "crossdock freight approve INV500000001",
            "crossdock freight finalise INV500000001",
            "crossdock trace INV500000001",
        )
    },
    # README, stubs
    "crossdock contract export contract": Run(r"wrote \d+ proto files"),
    "mkdir -p stubs": Run(),
    "python -m grpc_tools.protoc -I contract/proto --python_out=stubs --grpc_python_out=stubs "
    "$(find contract/proto -name '*.proto')": Run(),
    # README and operations, deployment
    "umask 077": Run(),
    MAKE_TOKEN: Run(),
    MAKE_ENDPOINTS: Run(),
    "export CROSSDOCK_DATA_DIRECTORY=data CROSSDOCK_ENDPOINTS_FILE=endpoints.json "
    "CROSSDOCK_LISTEN=127.0.0.1:7443": Serve("test_the_hub_is_deployed_as_the_readme_says"),
    "crossdock hub serve": Serve("test_the_hub_is_deployed_as_the_readme_says"),
    "crossdock hub bus-users --endpoints-file endpoints.json --output bus-users": Mapped(
        "tests/hub/test_bus_users.py::test_the_command_writes_what_a_server_reads"
    ),
    "crossdock adapter run --config adapters.toml": Serve("test_adapters_run_as_the_readme_says"),
    """printf %s "$(cat oms.token)" | sha256sum | cut -d' ' -f1""": Run(r"^[0-9a-f]{64}$"),
    **{line: Mapped(INSTALLS) for line in INSTALLING},
    # When something is stuck, and the runbook
    "crossdock doctor": Run(r"ok +hub +.* serves"),
    "crossdock map coverage": Run(r"^ups STATUS: \d+ codes"),
    SET_CODE: Run(r"^ups STATUS I QZ: IN_TRANSIT"),
    "crossdock map set ups SERVICE_LEVEL 01 --means NEXT_DAY --preferred "
    '--reason "the tariff of 3 March"': Run(r"^ups SERVICE_LEVEL 01: NEXT_DAY preferred"),
    'crossdock map backfill ups --reason "QZ is mapped"': Run(r"^nothing waits for codes of ups$"),
    "crossdock dead-letters list": Run(r"^(no dead letters; .*|GROUP +KIND +STATE .*)$"),
    "crossdock deliveries --quarantined --endpoint ups": Run(r"^no deliver"),
    "crossdock delivery show ID": Mapped(REFUSED),
    'crossdock delivery retry ID --reason "period 05 is open"': Mapped(REFUSED),
    'crossdock resolve ID --reference sales_order=SO-7 --reason "found it in the ERP"': Mapped(
        REFUSED
    ),
    "crossdock posted WEB-000001": Run(r"posted once as sales_order SO"),
    "crossdock posted-twice --since 7d": Run(r"\d+ deliveries were looked at", (0, 4)),
    'crossdock dead-letters drive FACT --reason "the item was corrected"': Mapped(HELD),
    'crossdock dead-letters discard FACT --reason "a test of theirs"': Mapped(HELD),
    "crossdock replay plan netsuite --set failed --since 1d": Run(r"0 items, failed at netsuite"),
    "crossdock replay list": Run(r"netsuite +failed +PLANNED"),
    "crossdock hub archive --dry-run": Mapped(ARCHIVED),
    "crossdock hub find-archived SO-1": Mapped(ARCHIVED),
    BACK_UP: Mapped("tests/hub/test_back_up.py::test_a_hub_that_writes_is_backed_up_and_put_back"),
    # docs/contracts.md
    "crossdock contract events": Run(r"order\.approved"),
    "crossdock contract owners order": Run(r"order\.sales_document +ERP"),
    "crossdock contract lint": Run(r"the contract holds"),
}  # fmt: skip


def shell_blocks(name: str) -> list[Block]:
    return blocks(document(name), "sh")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """What `make dev` starts, on a data directory of its own, for all tests of this file."""
    started = Dev(tmp_path_factory.mktemp("reader"))
    try:
        yield started.start()
    finally:
        started.stop()


def test_every_command_is_run_or_mapped() -> None:
    """Proves that a document gains no command that no test runs, and the table no leftovers."""
    written = {c for name in DOCUMENTS for block in shell_blocks(name) for c in block.commands}
    assert written == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "way"), [(c, way) for c, way in COMMANDS.items() if isinstance(way, Mapped)]
)
def test_mapped_commands_exist(command: str, way: Mapped) -> None:
    """Proves that make would run what the mapped test runs, and that this test exists."""
    file, _, name = way.test.partition("::")
    found = [path.read_text(encoding="utf-8") for path in ROOT.glob(file)]
    assert any(f"def {name}(" in text if name else "def test_" in text for text in found), file
    if way.recipe:
        assert makefile_recipe(command.removeprefix("make ")) == way.recipe


def test_make_help_lists_what_the_readme_names() -> None:
    """Proves that `make help` and each target the README writes about exist."""
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    text = (ROOT / README).read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
    assert {"demo", "test", "dev", "help"} <= set(named)
    for target in named:
        assert f"make {target} " in done.stdout


def follow(dev: Dev, block: Block, directory: Path) -> None:
    """Run a block's commands one after another, each in a fresh shell in the same directory."""
    for command in block.commands:
        way = COMMANDS[command]
        if not isinstance(way, Run):
            continue
        done = dev.run(command, directory)
        told = f"{block.place}: {command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode in way.exits, told
        assert re.search(way.says, done.stdout, re.MULTILINE), told


def test_the_readme_does_what_it_says(dev: Dev, tmp_path: Path) -> None:
    """Proves every shell line of the README in its order, and that no second label was bought."""
    for block in shell_blocks(README):
        follow(dev, block, tmp_path)
    generated = list((tmp_path / "stubs").rglob("*_pb2_grpc.py"))
    assert any(path.name == "order_service_pb2_grpc.py" for path in generated)
    deadline = time.monotonic() + SERVE_SECONDS
    while True:
        sold, numbers = labels(dev)
        # Of the orders that nobody followed, too: a moment at which all that is sold is told comes
        # before that.
        if sold == len(numbers) >= LABELS_SOLD or time.monotonic() > deadline:
            break
    assert sold == len(set(numbers)) >= LABELS_SOLD


def labels(dev: Dev) -> tuple[int, list[str]]:
    """How many labels UPS sold by its own books, and the numbers that deliveries confirmed."""
    sold = json.loads(dev.run("crossdock sandbox books ups labels_sold").stdout)
    listed = dev.run("crossdock deliveries --endpoint ups --operation buy_label --limit 500 --json")
    found = json.loads(listed.stdout)["deliveries"]
    bought = [each.get("vendor_references", []) for each in found]
    return sold, [each["value"] for references in bought for each in references]


@pytest.mark.parametrize("name", DOCUMENTS[1:])
def test_the_other_documents_do_what_they_say(dev: Dev, tmp_path: Path, name: str) -> None:
    """Proves every line of the documents that is marked as a command."""
    for block in shell_blocks(name):
        follow(dev, block, tmp_path)


def runnable(name: str) -> list[Block]:
    """Python blocks that are programs; those that name a file are parts of an adapter."""
    return [b for b in blocks(document(name), "python") if "asyncio.run" in b.text]


@pytest.mark.parametrize(
    ("name", "says"),
    [(README, r"sales_document belongs to ERP.*order\.proto:\d+"), ("docs/operations.md", "")],
)
def test_snippets_run(dev: Dev, tmp_path: Path, name: str, says: str) -> None:
    """Proves that a snippet works when it is copied as it stands."""
    for block in runnable(name):
        program = tmp_path / "snippet.py"
        program.write_text(block.text, encoding="utf-8")
        done = dev.run(f"{dev.as_operator} {sys.executable} {program}", tmp_path)
        assert done.returncode == 0, f"{block.place}\n{done.stderr}"
        assert re.search(says, done.stdout), f"{block.place}\n{done.stdout}"


def until(ready: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + SERVE_SECONDS
    while not ready():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def start(script: str, directory: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    with (directory / "log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            ["bash", "-c", script], cwd=directory, env=variables, stdout=log, stderr=log, text=True
        )


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_the_hub_is_deployed_as_the_readme_says(tmp_path: Path) -> None:
    """Proves that the block starts a hub that knows the token it made, and ends on SIGTERM."""
    block = next(b for b in shell_blocks(README) if "crossdock hub serve" in b.commands)
    script = "\n".join(block.commands).replace("LISTEN=127.0.0.1:7443", "LISTEN=127.0.0.1:0")
    script = script.replace("crossdock hub serve", "exec crossdock hub serve")
    address = tmp_path / "address.json"
    variables = environment(tmp_path, CROSSDOCK_ADDRESS_FILE=str(address))
    process = start(script, tmp_path, variables)
    try:
        until(address.exists, process, tmp_path / "log")
        token = tmp_path / "oms.token"
        assert token.stat().st_mode & 0o077 == 0
        code = (
            "import asyncio, sys\n"
            "from crossdock.client import HubClient\n"
            "from crossdock.order.v1.order_service_pb2 import ListOrdersRequest\n"
            "async def main():\n"
            "    async with HubClient(sys.argv[1], token_file=sys.argv[2]) as hub:\n"
            "        print(len((await hub.orders.ListOrders(ListOrdersRequest())).orders))\n"
            "asyncio.run(main())\n"
        )
        where = json.loads(address.read_text(encoding="utf-8"))["grpc"]
        done = subprocess.run(
            [sys.executable, "-c", code, where, str(token)],
            env=variables, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    finally:
        status = end(process)
    assert status == 0, (tmp_path / "log").read_text(encoding="utf-8")


def test_adapters_run_as_the_readme_says(dev: Dev, tmp_path: Path) -> None:
    """Proves that a second process of an endpoint joins with a file like dev's, and leaves."""
    text = (dev.data / "config" / "adapters.toml").read_text(encoding="utf-8")
    ready = tmp_path / "ready.json"
    text = re.sub(r'ready_file = ".*"', f'ready_file = "{ready}"', text)
    text = re.sub(r"\[metrics\]\nport = \d+\n", "", text)
    (tmp_path / "adapters.toml").write_text(text, encoding="utf-8")
    script = "exec crossdock adapter run --config adapters.toml netsuite"
    process = start(script, tmp_path, dev.environment)

    def serves() -> bool:
        if not ready.exists():
            return False
        told = json.loads(ready.read_text(encoding="utf-8"))
        return bool(told["endpoints"]["netsuite"]["state"] == "serving")

    try:
        until(serves, process, tmp_path / "log")
    finally:
        status = end(process)
    assert status == 0, (tmp_path / "log").read_text(encoding="utf-8")


@pytest.fixture
def pigeon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's adapter as a folder, with the two files that it only speaks of."""
    folder = tmp_path / "pigeon"
    folder.mkdir()
    for language, name in (("toml", "adapter.toml"), ("python", "adapter.py")):
        block = next(
            b for b in blocks(document(README), language) if b.text.startswith(f"# {name}")
        )
        (folder / name).write_text(block.text, encoding="utf-8")
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "client.py").write_text(
        "class PigeonClient:\n"
        "    def __init__(self, base_url): self.sold = {}\n"
        "    async def book(self, reference):\n"
        "        self.sold[reference] = type('Sold', (), {'number': 'P' + reference})\n"
        "        return self.sold[reference]\n"
        "    async def find(self, reference): return self.sold.get(reference)\n",
        encoding="utf-8",
    )
    (folder / "translate.py").write_text(
        "from crossdock.label.v1.label_service_pb2 import CreateLabelRequest\n"
        "def booking(event, item, reference): return reference\n"
        "def label(work, answer): return CreateLabelRequest()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


async def test_the_adapter_of_the_readme_works(pigeon: Path) -> None:
    """Proves that manifest and wiring agree, and that a look-up finds what the call did."""
    from types import SimpleNamespace

    from crossdock_adapters.sdk.outcomes import Confirmed, NotFound
    from crossdock_adapters.sdk.settings import check
    from pigeon.adapter import ADAPTER

    ADAPTER.check()
    given = {"base_url": "http://127.0.0.1:1"}
    vendor = await ADAPTER.connect_function(*check(ADAPTER.manifest.settings, given))
    work = SimpleNamespace(event=None, item="", reference="REF")
    assert isinstance(await ADAPTER.look_ups["buy_label"](work, vendor), NotFound)
    done = await ADAPTER.operations["buy_label"](work, vendor)
    found = await ADAPTER.look_ups["buy_label"](work, vendor)
    assert isinstance(found, Confirmed)
    assert [r.value for r in found.references] == [r.value for r in done.references] == ["PREF"]


def test_the_command_line_is_the_one_of_this_checkout() -> None:
    """Proves that `. .venv/bin/activate` gives the crossdock that these tests ran."""
    assert (BIN / "crossdock").exists() and (BIN / "activate").exists()
