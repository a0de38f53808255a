"""Setting up from nothing: which Python is taken, when there is nothing to do, what make offers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source_files import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import bootstrap


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that holds only what the fingerprint reads, already set up as dev."""
    for name in bootstrap.FINGERPRINTED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").touch()
    for name, value in {
        "ROOT": tmp_path,
        "VENV_PYTHON": venv / "bin/python",
        "STAMP": venv / "crossdock-setup",
    }.items():
        monkeypatch.setattr(bootstrap, name, value)
    bootstrap.STAMP.write_text(f"dev {bootstrap.current_fingerprint()}\n", encoding="utf-8")
    return tmp_path


def program(path: Path, text: str) -> Path:
    """A small executable script."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_dev_covers_runtime_and_nothing_is_done_twice(checkout: Path) -> None:
    """Proves that a set-up for developers also serves `make demo`, at no cost."""
    assert bootstrap.satisfied("dev")
    assert bootstrap.satisfied("runtime")


@pytest.mark.parametrize("name", bootstrap.FINGERPRINTED)
def test_a_changed_lock_or_project_means_work(checkout: Path, name: str) -> None:
    """Proves that what was pulled from others is installed before it is run."""
    (checkout / name).write_text("changed", encoding="utf-8")
    assert not bootstrap.satisfied("runtime")
    assert bootstrap.installed_profile() == "dev"


def test_runtime_does_not_cover_dev(checkout: Path) -> None:
    """Proves that tests are not started without their tools."""
    text = bootstrap.STAMP.read_text(encoding="utf-8")
    bootstrap.STAMP.write_text(text.replace("dev ", "runtime "), encoding="utf-8")
    assert bootstrap.satisfied("runtime")
    assert not bootstrap.satisfied("dev")


def test_an_unusable_python_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that an old Python, or one without pip, gives way to the next that serves."""
    old = program(tmp_path / "old", "exit 1")
    good = program(tmp_path / "good", "exit 0")
    monkeypatch.setenv("PYTHON", str(old))
    monkeypatch.setattr(sys, "executable", str(good))
    assert bootstrap.find_python() == str(good)


def test_without_a_python_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a machine with only old Pythons gets one clear sentence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHON", str(tmp_path / "missing"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match=r"(?s)Python 3\.11 or newer.*make setup PYTHON="):
        bootstrap.find_python()


def test_uv_is_told_where_pip_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a mirror and a certificate that pip is set to serve uv as well."""
    lines = ["global.index-url='http://mirror.invalid/'", "install.cert='/a.pem'"]
    lines += [":env:.index-url='http://closer.invalid/'"]
    pip = program(tmp_path / "python", "\n".join(f'echo "{line}"' for line in lines))
    for variable in ("UV_DEFAULT_INDEX", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    environment = bootstrap.uv_environment(str(pip))
    assert environment["UV_DEFAULT_INDEX"] == "http://closer.invalid/"
    assert environment["SSL_CERT_FILE"] == "/a.pem"


def test_old_pythons_can_read_the_script_far_enough_to_refuse() -> None:
    """Proves that the person with Python 3.7 sees the message, not a syntax error."""
    text = (ROOT / "tools/bootstrap.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


def test_make_lists_every_target() -> None:
    """Proves that `make` alone tells a newcomer what there is."""
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    assert {"setup", "demo", "dev", "test", "lint", "contracts", "bench"} <= set(targets)
    for target in targets:
        assert f"make {target} " in done.stdout
