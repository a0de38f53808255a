"""`crossdock contract`: the bundle compiles elsewhere, and the checks exit as they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from crossdock import cli, contracts
from crossdock.cli import contract as command
from grpc_tools import protoc

BIN = Path(sys.executable).parent


def crossdock(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "TERMINAL_WIDTH": "100"},
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported contract, far away from the repository."""
    directory = tmp_path_factory.mktemp("elsewhere") / "bundle"
    done = crossdock("contract", "export", str(directory))
    assert done.returncode == 0, done.stderr
    return directory


def test_a_team_with_only_protoc_generates_from_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """Proves that the bundle is complete: every file compiles, to the same contract."""
    proto = bundle / "proto"
    names = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    image = tmp_path / "image.binpb"
    arguments = [f"-I{proto}", "--include_imports", f"--descriptor_set_out={image}"]
    include = Path(protoc.__file__).parent / "_proto"
    status = protoc.main(["protoc", *arguments, f"-I{include}", f"--python_out={tmp_path}", *names])
    assert status == 0
    assert (tmp_path / "crossdock" / "order" / "v1" / "order_pb2.py").is_file()
    assert contracts.diff(image.read_bytes(), contracts.load().image.data) == []


def test_a_team_with_only_buf_generates_from_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """Proves that `buf generate` works in the bundle without network or registry."""
    template = {
        "version": "v2",
        "plugins": [
            {
                "protoc_builtin": "python",
                "protoc_path": [sys.executable, "-m", "grpc_tools.protoc"],
                "out": str(tmp_path / "stubs"),
            }
        ],
    }
    done = subprocess.run(
        [str(BIN / "buf"), "generate", "--template", json.dumps(template)],
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stubs = tmp_path / "stubs"
    assert (stubs / "crossdock" / "delivery" / "v1" / "delivery_service_pb2.py").is_file()
    assert (stubs / "buf" / "validate" / "validate_pb2.py").is_file()


def test_the_bundle_has_comments_and_the_compiled_image(bundle: Path) -> None:
    """Proves that another team reads what we read."""
    order = (bundle / "proto" / "crossdock" / "order" / "v1" / "order.proto").read_text()
    assert "// The number the customer knows" in order
    contracts.Contract((bundle / "contracts.binpb").read_bytes())


def test_an_installed_wheel_prints_what_it_does_not_carry() -> None:
    """Proves that sources can be printed from the image alone, and compile to the same image."""
    image = contracts.load().image.data
    printed = contracts.print_files(image)
    assert set(printed) == set(command._sources())
    assert "string number = 5 [(buf.validate.field) = " in printed["crossdock/order/v1/order.proto"]


def test_printed_sources_compile_to_the_same_contract(tmp_path: Path) -> None:
    """Proves that nothing but comments is lost in printing."""
    image = contracts.load().image.data
    for name, text in contracts.print_files(image).items():
        path = tmp_path / "proto" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = list(contracts.print_files(image))
    include = Path(protoc.__file__).parent / "_proto"
    out = tmp_path / "image.binpb"
    root = f"-I{tmp_path / 'proto'}"
    status = protoc.main(
        ["protoc", root, f"-I{include}", "--include_imports", f"--descriptor_set_out={out}", *names]
    )
    assert status == 0
    assert contracts.diff(image, out.read_bytes()) == []


def test_a_bundle_never_overwrites_what_is_not_one(tmp_path: Path, bundle: Path) -> None:
    """Proves that a mistyped directory keeps its files, and that --replace renews a bundle."""
    (tmp_path / "precious.txt").write_text("x")
    done = crossdock("contract", "export", str(tmp_path), "--replace")
    assert (done.returncode, (tmp_path / "precious.txt").read_text()) == (1, "x")
    assert done.stderr.startswith("error: ")
    stale = bundle / "proto" / "stale.proto"
    stale.write_text("x")
    assert crossdock("contract", "export", str(bundle), "--replace").returncode == 0
    assert not stale.exists()


def test_lint_says_that_the_contract_holds_and_where_it_does_not(proto_tree) -> None:
    """Proves exit 0 and 1 of lint, with file and line."""
    done = crossdock("contract", "lint")
    assert (done.returncode, done.stdout.startswith("the contract holds: ")) == (0, True)
    proto_tree.replace("order/v1/order_events.proto", "    milestone: true\n", "")
    proto_tree.compile()
    done = crossdock("contract", "lint", str(proto_tree.root / "image.binpb"))
    assert done.returncode == 1
    assert done.stdout.startswith("proto/crossdock/order/v1/order_events.proto:")


def test_diff_refuses_reports_and_takes_waivers(proto_tree, image: bytes) -> None:
    """Proves the exit codes of diff, and that what it prints is what a waiver needs."""
    root = proto_tree.root
    (root / "old.binpb").write_bytes(image)
    proto_tree.replace("order/v1/order.proto", "max_len: 64", "max_len: 32")
    proto_tree.compile()
    command = ("contract", "diff", "old.binpb", "image.binpb")
    refused = crossdock(*command, cwd=root)
    assert refused.returncode == 1
    assert "validation string.max_len changed from 64 to 32" in refused.stdout
    told = refused.stdout.split("to waive it: element ")[1].strip()
    element, change = told.split(", change ")
    (root / "waivers.md").write_text(
        f"# Waivers\n| 2026-11-23 | {element} | {change} | wanted | all |\n"
    )
    waived = crossdock(*command, "--waivers", "waivers.md", "--json", cwd=root)
    assert waived.returncode == 0
    assert [each["element"] for each in json.loads(waived.stdout)["waived"]] == [element]


def test_owners_and_events_are_shown() -> None:
    """Proves that a person finds owner and line of a field, and a program too."""
    done = crossdock("contract", "owners", "order")
    assert done.returncode == 0
    line = next(row for row in done.stdout.splitlines() if row.startswith("order.sales_document"))
    assert line.split()[1] == "ERP" and "proto/crossdock/order/v1/order.proto:" in line
    rules = json.loads(crossdock("contract", "owners", "--json").stdout)
    assert {rule["resource"] for rule in rules} == set(contracts.load().resources)
    assert "order.approved" in crossdock("contract", "events").stdout
    assert crossdock("contract", "owners", "nothing").returncode == 1


def test_commands_are_listed_without_being_imported() -> None:
    """Proves that each command is in the help, and that one broken module breaks no other."""
    done = crossdock("--help")
    assert done.returncode == 0
    for name in cli.COMMANDS:
        assert name in done.stdout
    assert crossdock("nothing").returncode == 2
    probe = "import sys, crossdock.cli; assert 'crossdock.contracts' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=120).returncode == 0
