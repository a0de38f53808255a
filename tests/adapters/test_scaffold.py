"""`crossdock adapter new`: what it refuses, and that what it writes is written as ours is.

That each installs with pip and conforms, and that one runs at a hub, is proved by
tests/docs/test_new_adapter.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from crossdock_adapters import __main__ as command
from crossdock_adapters.sdk.manifest import Manifest, parse
from crossdock_adapters.sdk.scaffold.creating import MAX_TITLE_CHARACTERS, create, kinds
from crossdock_adapters.sdk.testing import asked_of
from source_files import ROOT

RUFF = Path(sys.executable).parent / "ruff"
MAX_FUNCTION_LINES = 50
MAX_PACKAGE_LINES = 700
LONGEST_NAME = "a" + "-very-long" * 3
MARK = re.compile(r"\bREPLACE ([a-z ]+):")
ROW = re.compile(r"^\| `([a-z ]+)` \| `([\w.]+)` \|", re.MULTILINE)


def new(*arguments: str) -> int:
    return command.main(["new", *arguments])


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("name", ["pigeon", LONGEST_NAME])
def test_it_is_written_as_we_write(kind: str, name: str, tmp_path: Path) -> None:
    """Proves that a skeleton passes our linter with any name and title, and is formatted."""
    create(name, kind, tmp_path / "it", "T" * MAX_TITLE_CHARACTERS)
    checks = [["check"], *([["format", "--check"]] if name == "pigeon" else [])]
    for check in checks:
        config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "."]
        done = subprocess.run(
            [str(RUFF), *check, *config],
            cwd=tmp_path / "it",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", kinds())
def test_it_is_short_and_told(kind: str, tmp_path: Path) -> None:
    """Proves that a skeleton can be read in one sitting, each module and function of it says what
    it is for, and no placeholder of a template is left."""
    lines = 0
    for path in create("pigeon", kind, tmp_path / "it"):
        text = path.read_text("utf-8")
        assert "$" not in text or path.suffix == ".md", path
        assert max(map(len, text.splitlines())) <= 130, path
        if path.suffix != ".py":
            continue
        lines += len(text.splitlines())
        tree = ast.parse(text)
        assert ast.get_docstring(tree), path
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= MAX_FUNCTION_LINES, f"{path}: {node.name}"
    assert lines <= MAX_PACKAGE_LINES


@pytest.mark.parametrize("kind", kinds())
def test_what_is_to_be_replaced_is_listed(kind: str, tmp_path: Path) -> None:
    """Proves that README.md has a row for each place that is marked REPLACE, with its file, and no
    row without such a place."""
    written = create("pigeon", kind, tmp_path / "it")
    marked = {
        (word, path.name)
        for path in written
        if path.name != "README.md"
        for word in MARK.findall(path.read_text("utf-8"))
    }
    listed = ROW.findall((tmp_path / "it" / "README.md").read_text("utf-8"))
    assert sorted(listed) == sorted(marked) and len(marked) > 5


@pytest.mark.parametrize("kind", kinds())
def test_its_class_is_one_that_protects(kind: str, tmp_path: Path) -> None:
    """Proves that no skeleton begins with a class by which a person has to look each time, and that
    its manifest names no operation without one."""
    written = create("pigeon", kind, tmp_path / "it")
    (file,) = [path for path in written if path.name == "adapter.toml"]
    manifest: Manifest = parse(file.read_text("utf-8"), "adapter.toml")
    assert manifest.name == "pigeon" and manifest.operations
    assert all(each.operation_class != "none" for each in manifest.operations.values())


@pytest.mark.parametrize("kind", kinds())
def test_it_says_what_it_leaves_out(kind: str, tmp_path: Path) -> None:
    """Proves that a skeleton says of all that the contract asks of its role, returns included, that
    it does it or why it does not."""
    written = create("pigeon", kind, tmp_path / "it")
    (file,) = [path for path in written if path.name == "adapter.toml"]
    manifest: Manifest = parse(file.read_text("utf-8"), "adapter.toml")
    assert asked_of(manifest.role) == {*manifest.operations, *manifest.not_offered}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Pigeon", "--kind", "rest"), "'Pigeon' is no name"),
        (("pigeon--post", "--kind", "rest"), "is no name"),
        (("pigeon-", "--kind", "rest"), "is no name"),
        (("../pigeon", "--kind", "rest"), "is no name"),
        (("p" * 32, "--kind", "rest"), "is no name"),
        (("ups", "--kind", "rest"), "an adapter ups is installed already"),
        (("pigeon", "--kind", "smoke"), "smoke is no kind; there are: "),
        (("pigeon", "--kind", "rest", "--title", 'a "b"'), "a title is one line without quotes"),
        (("pigeon", "--kind", "rest", "--title", "a" * 41), "at most 40 characters"),
    ],
)
def test_what_is_refused_writes_nothing(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that a wrong name, title or kind is refused in words, before anything is written."""
    monkeypatch.chdir(tmp_path)
    assert new(*arguments) == command.EXIT_CONFIGURATION
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Proves that a folder with something in it, or a file of that name, stays as it was."""
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    for place in (full, file):
        asked = ("pigeon", "--kind", "rest", "--directory", str(place))
        assert new(*asked) == command.EXIT_CONFIGURATION
        assert f"{place} exists and is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["mine"]
    assert file.read_text() == "mine"


def test_it_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Proves that the command names the folder and the commands that come next."""
    place = tmp_path / "an empty one"
    place.mkdir()
    assert new("pigeon", "--kind", "rest", "--directory", str(place)) == 0
    told = capsys.readouterr().out
    assert f"cd '{place}'" in told
    for line in ("python -m pip install", "crossdock adapter conform pigeon", "REPLACE"):
        assert line in told
