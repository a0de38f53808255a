"""What a waiver in proto/README.md lets pass when `make contracts` compares, and what not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ORDER = "order/v1/order.proto"
# What the last release said where the present contract says something else: (now, then).
CHANNEL_RENUMBERED = ("optional string channel = 14", "optional string channel = 44")
LABEL_LONGER = ("max_len: 64", "max_len: 96")


class Workspace:
    """The repository as far as the contract goes, with a last release that a test chooses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("tools/contracts.py", "buf.yaml", "proto/README.md"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
        shutil.copytree(REPOSITORY / "proto/crossdock", root / "proto/crossdock")

    def release(self, image: bytes) -> None:
        """Make this image the last released one."""
        released = self.root / "proto/released/contracts.binpb"
        released.parent.mkdir(exist_ok=True)
        released.write_bytes(image)

    def waive(self, element: str, change: str) -> None:
        """Add one row to the table of waivers."""
        readme = self.root / "proto/README.md"
        head, rule, rest = readme.read_text(encoding="utf-8").partition("|---|---|---|---|---|\n")
        assert rule, "the table of waivers has gone"
        row = f"| 2026-11-23 | `{element}` | {change} | labels got shorter | oms |\n"
        readme.write_text(f"{head}{rule}{row}{rest}", encoding="utf-8")

    def breaking(self) -> subprocess.CompletedProcess[str]:
        """Compare the present contract with the last release, as `make contracts` does."""
        return subprocess.run(
            [sys.executable, "tools/contracts.py", "breaking"],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


def test_before_the_first_release_anything_may_change(workspace: Workspace) -> None:
    """Proves that nothing is compared, and that it says so, while nothing is released."""
    done = workspace.breaking()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing released yet" in done.stdout


def test_a_waiver_does_not_excuse_the_wire(workspace: Workspace, proto_tree) -> None:
    """Proves that a renumbered field stops the build, with its file, although it is waived."""
    proto_tree.replace(ORDER, *CHANNEL_RENUMBERED)
    workspace.release(proto_tree.compile())
    workspace.waive("crossdock.order.v1.Order.channel", "element_removed")
    done = workspace.breaking()
    assert done.returncode != 0
    assert f"proto/crossdock/{ORDER}:" in done.stdout, done.stdout + done.stderr


def test_a_change_of_meaning_is_refused_until_waived(workspace: Workspace, proto_tree) -> None:
    """Proves that a tightened limit stops the build, and that one row for it lets it pass."""
    proto_tree.replace(ORDER, *LABEL_LONGER)
    workspace.release(proto_tree.compile())
    refused = workspace.breaking()
    assert refused.returncode != 0, refused.stdout
    line = next(line for line in refused.stdout.splitlines() if "crossdock.order.v1." in line)
    element = next(word for word in line.split() if word.startswith("crossdock.order.v1."))

    workspace.waive(element.rstrip(":,"), "validation_changed")
    passed = workspace.breaking()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "waived" in passed.stdout
