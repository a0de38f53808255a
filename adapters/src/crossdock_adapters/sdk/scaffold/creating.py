"""Makes the folder of a new adapter from the templates of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.manifest import NAME
from crossdock_adapters.sdk.testing import OUTSIDE_PREFIX

EVERY_KIND = "every"
PACKAGE = "package/"
ENDING = ".template"
MAX_TITLE_CHARACTERS = 40


class CannotCreate(ValueError):
    """There is no such folder to be made; the text says why, and what to do instead."""


def kinds() -> list[str]:
    """Every kind there is a skeleton of."""
    found = _templates().iterdir()
    return sorted(each.name for each in found if each.is_dir() and each.name != EVERY_KIND)


def create(name: str, kind: str, folder: Path, title: str = "") -> list[Path]:
    """Write a new adapter into a folder that is not there yet, or is empty; what was written.

    title: what people call the vendor; "" makes it of the name. CannotCreate, OSError.
    """
    _check(name, kind, folder)
    words = {
        "name": name,
        "package": OUTSIDE_PREFIX + name.replace("-", "_"),
        "title": title or name.replace("-", " ").title(),
    }
    _check_title(words["title"])
    written = []
    for part in (EVERY_KIND, kind):
        for template, place in _files(_templates().joinpath(part)):
            inside = f"src/{words['package']}/"
            target = folder / (
                place.replace(PACKAGE, inside, 1) if place.startswith(PACKAGE) else place
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8") as file:
                file.write(Template(template.read_text("utf-8")).substitute(words))
            written.append(target)
    return sorted(written)


def _check(name: str, kind: str, folder: Path) -> None:
    if kind not in kinds():
        raise CannotCreate(f"{kind} is no kind; {_known()}")
    if not NAME.fullmatch(name) or name.endswith("-") or "--" in name:
        raise CannotCreate(
            f"{name!r} is no name: 2 to 31 small letters, digits and single hyphens, a letter first"
        )
    if name in registry.names():
        raise CannotCreate(f"an adapter {name} is installed already: choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotCreate(f"{folder} exists and is not an empty folder: name another one")


def _check_title(title: str) -> None:
    # It stands in TOML texts and in docstrings.
    is_plain = title.isprintable() and not any(character in title for character in '"\\')
    if not is_plain or len(title) > MAX_TITLE_CHARACTERS:
        said = f"one line without quotes and backslashes, at most {MAX_TITLE_CHARACTERS} characters"
        raise CannotCreate(f"a title is {said}")


def _known() -> str:
    return f"there are: {', '.join(kinds())}"


def _templates() -> Traversable:
    return resources.files(__package__ or "").joinpath("templates")


def _files(folder: Traversable, above: str = "") -> Iterator[tuple[Traversable, str]]:
    """(template, place of what is made of it) of everything below a folder."""
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files(each, f"{above}{each.name}/")
        elif each.name.endswith(ENDING):
            yield each, above + each.name.removesuffix(ENDING)
