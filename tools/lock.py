"""Chooses versions anew and writes the lock files: versions and hashes, no addresses.

bootstrap.lock          uv alone, which installs the rest
requirements.lock       what runs, and what installs our own distributions in place
requirements-dev.lock   that, and what tests, lint and the contract build need

Pass --upgrade to move to the newest versions that fit; without it only what must change does.
"""

from __future__ import annotations

import re
import subprocess
import sys

import bootstrap

OWN = ("crossdock", "crossdock-hub", "crossdock-adapters")
PROJECTS = tuple(f"{folder}/pyproject.toml" for folder in bootstrap.DISTRIBUTIONS)
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
    *(f"--no-emit-package={name}" for name in OWN),
    "--quiet",
)


def main(arguments: list[str]) -> None:
    """Write the three lock files; refuse to write an address into one."""
    upgrade = ["--upgrade"] if arguments == ["--upgrade"] else []
    if arguments and not upgrade:
        raise SystemExit("usage: lock.py [--upgrade]")
    compile_lock("requirements.lock", [*PROJECTS, "--group", "build", *upgrade])
    constrained = ["--constraint", "requirements.lock", *upgrade]
    compile_lock("requirements-dev.lock", [*PROJECTS, "--group", "dev", *constrained])
    compile_lock("bootstrap.lock", ["-", *upgrade], read="uv")


def compile_lock(name: str, arguments: list[str], read: str = "") -> None:
    """Resolve into one lock file, keeping the versions that are in it where they fit."""
    bootstrap.install_uv(sys.executable)
    command = [str(bootstrap.uv_program()), "pip", "compile", *OPTIONS, "-o", name, *arguments]
    subprocess.run(
        command,
        cwd=bootstrap.ROOT,
        env=bootstrap.uv_environment(sys.executable),
        check=True,
        input=read,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    text = (bootstrap.ROOT / name).read_text(encoding="utf-8")
    if re.search(r"://|^-", text, re.MULTILINE):
        raise SystemExit(f"{name} holds an address or an option: do not commit it")
    print(f"{name}: {len(re.findall(r'^[a-z0-9.-]+==', text, re.MULTILINE))} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
