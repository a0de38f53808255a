"""The house style, checked: sizes, names, what must never be committed, one version everywhere."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import crossdock
import pytest
from source_files import GENERATED, ROOT, functions, parsed, relative, written_files

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 500
MAX_PROTO_LINES = 300

# What does not fit: place -> its size today, with the reason beside it. A size may only shrink:
# when what it measures has shrunk the number follows, and when it fits the entry goes.
EXCEPTIONS: dict[str, dict[str, int]] = {
    "function": {},
    ".py": {},
    ".proto": {},
}

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"\b(pypi|python[h]osted|npmjs|crates|golang|ghcr|artifactory|nexus|buf)"
        r"\.(org|com|io|build)\b|https?://\S+/simple\b"
    ),
    "a setting that names a package index": re.compile(
        r"(extra-index-url|index-url|find-links)\s*=\s*['\"]?(https?://(?!\S+\.invalid)|file:|/)"
    ),
    "a path of one machine": re.compile(r"(?<![\w.:/~$}-])/(work|root|home|Users)/\w"),
    "a place outside the repository": re.compile(r"\bshared/(design|endpoints)\b"),
    "somebody's address": re.compile(
        r"[\w.+-]+@(?![\w.-]*\b(?:example|invalid|test)\b)[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b"
    ),
    "a host of a private network": re.compile(
        r"\b(192\.168|172\.(1[6-9]|2\d|3[01])|10\.\d+)\.\d+\.[1-9]\d+\b|\w\.(internal|corp|lan)\b"
    ),
    "unfinished work": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}"),
}
LOCKS = ("bootstrap.lock", "requirements.lock", "requirements-dev.lock")
PROJECTS = ("clients/python", "hub", "adapters")


def misfits(rule: str, sizes: dict[str, int], limit: int) -> list[str]:
    """What is over the limit and not excused, and what is excused for more than it needs."""
    excused = EXCEPTIONS[rule]
    over = {place: size for place, size in sizes.items() if size > limit}
    grown = [f"{place}: {size}" for place, size in over.items() if size > excused.get(place, limit)]
    shrunk = [
        f"{place}: excused for {size}, needs {over.get(place, 'no exception')}"
        for place, size in excused.items()
        if over.get(place, 0) < size
    ]
    return grown + shrunk


def test_lines_fit_in_100_columns() -> None:
    """Proves that two files fit side by side; in .proto the formatter decides about code lines."""
    wide = []
    for path in written_files(".py", ".proto", ".sh", ""):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            formatted = path.suffix == ".proto" and not line.lstrip().startswith("//")
            place = f"{relative(path)}:{number}"
            # What is said to a type checker is no reading matter, and can't be wrapped.
            read = line.split("  # type: ignore")[0]
            if len(read) > MAX_COLUMNS and not formatted and path.name != "LICENSE":
                wide.append(f"{place}: {len(read)}")
    assert not wide, "\n".join(wide)


def test_functions_fit_on_a_screen() -> None:
    """Proves that no function is longer than 50 lines."""
    sizes = {
        f"{relative(path)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in written_files(".py")
        for function in functions(path)
    }
    wrong = misfits("function", sizes, MAX_FUNCTION_LINES)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("suffix", "limit"), [(".py", MAX_FILE_LINES), (".proto", MAX_PROTO_LINES)]
)
def test_files_stay_readable(suffix: str, limit: int) -> None:
    """Proves that no Python file is over 500 lines and no contract file over 300."""
    sizes = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in written_files(suffix)
    }
    wrong = misfits(suffix, sizes, limit)
    assert not wrong, "\n".join(wrong)


def test_an_exception_may_only_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that what grows, what shrank and what is gone are all told, and a fit is not."""
    monkeypatch.setitem(EXCEPTIONS, ".py", {"wide.py": 600, "gone.py": 700})
    assert misfits(".py", {"wide.py": 600, "small.py": 500}, 500) == [
        "gone.py: excused for 700, needs no exception"
    ]
    assert misfits(".py", {"wide.py": 601, "gone.py": 700}, 500) == ["wide.py: 601"]
    assert misfits(".py", {"wide.py": 550, "gone.py": 700}, 500) == [
        "wide.py: excused for 600, needs 550"
    ]


def test_no_module_is_named_after_nothing() -> None:
    """Proves that no module is called utils, helpers or another name that says nothing."""
    named = [
        relative(path)
        for path in written_files(".py")
        if BANNED_NAMES.intersection((path.stem, *path.relative_to(ROOT).parts[:-1]))
    ]
    assert not named


def test_modules_say_what_they_are_for() -> None:
    """Proves that each module opens with a sentence and postpones its annotations."""
    silent = []
    for path in written_files(".py"):
        tree = parsed(path)
        if tree.body and not ast.get_docstring(tree):
            silent.append(f"{relative(path)}: no opening sentence")
        annotations = "from __future__ import annotations" in path.read_text(encoding="utf-8")
        if functions(path) and not annotations:
            silent.append(f"{relative(path)}: no `from __future__ import annotations`")
    assert not silent, "\n".join(silent)


def test_tests_say_what_they_prove() -> None:
    """Proves that each test has a docstring: it is what a person reads when the test fails."""
    silent = [
        f"{relative(path)}:{function.name}"
        for path in written_files(".py")
        if path.name.startswith("test_")
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_never_committed(what: str) -> None:
    """Proves that no file holds an address of a registry, a path of one machine, or a secret."""
    found = []
    for path in written_files():
        text = path.read_text(encoding="utf-8")
        for match in FORBIDDEN[what].finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if path != Path(__file__):
                found.append(f"{relative(path)}:{line}: {match.group()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_versions_and_hashes_only(name: str) -> None:
    """Proves that a lock pins every package with hashes and tells nobody where we download."""
    text = (ROOT / name).read_text(encoding="utf-8")
    packages = re.split(r"\n(?=\S)", text.strip())
    assert packages
    for package in packages:
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+", package), package
        assert "--hash=sha256:" in package, package
    assert "://" not in text


def test_one_version() -> None:
    """Proves that workspace, the three distributions and the package agree on one version."""
    projects = {
        folder: tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))
        for folder in (".", *PROJECTS)
    }
    versions = {folder: project["project"]["version"] for folder, project in projects.items()}
    versions["crossdock.__version__"] = crossdock.__version__
    for folder, project in projects.items():
        for requirement in project["project"].get("dependencies", []):
            if requirement.startswith("crossdock"):
                versions[f"{folder}: {requirement}"] = requirement.partition("==")[2]
    assert len(set(versions.values())) == 1, versions


def test_generated_files_are_marked() -> None:
    """Proves that reviews fold generated files away: each kind is marked in .gitattributes."""
    marked = (ROOT / ".gitattributes").read_text(encoding="utf-8")
    for kind in (*GENERATED, ".binpb"):
        assert re.search(rf"{re.escape(kind)}\s.*linguist-generated", marked), kind
