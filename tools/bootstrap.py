"""Makes .venv from Python 3.11 or newer and pip alone; costs nothing when nothing changed.

python3 tools/bootstrap.py runtime   what `make demo` and `make dev` need
python3 tools/bootstrap.py dev       that, and what tests, lint and the contract build need

uv, pinned in bootstrap.lock, does the work; where it cannot download, pip does it, slower.
Only the standard library is used, and old Pythons can read this file far enough to refuse.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "crossdock-setup"
TOOLS = ROOT / ".tools"
OLDEST_PYTHON = (3, 11)
PROFILES = {"runtime": "requirements.lock", "dev": "requirements-dev.lock"}
DISTRIBUTIONS = ("clients/python", "hub", "adapters")
STEP_SECONDS = 300
FINGERPRINTED = (
    "bootstrap.lock",
    *PROFILES.values(),
    *(f"{folder}/pyproject.toml" for folder in DISTRIBUTIONS),
)


def main(arguments: list[str]) -> None:
    """Bring .venv up to the profile asked for."""
    if arguments not in [[profile] for profile in PROFILES]:
        raise SystemExit(f"usage: bootstrap.py {'|'.join(PROFILES)}")
    wanted = arguments[0]
    if satisfied(wanted):
        return
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "setup.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not satisfied(wanted):
            set_up("dev" if installed_profile() == "dev" else wanted)


def satisfied(wanted: str) -> bool:
    """Whether .venv holds the profile, from these locks, in this place."""
    try:
        profile, fingerprint = STAMP.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return False
    enough = profile in (wanted, "dev")
    return enough and fingerprint == current_fingerprint() and VENV_PYTHON.exists()


def installed_profile() -> str:
    """The profile of the last set-up, or nothing."""
    return STAMP.read_text(encoding="utf-8").split(" ")[0] if STAMP.exists() else ""


def current_fingerprint() -> str:
    """What the set-up depends on: the locks, the three projects, and where they lie."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in FINGERPRINTED:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def set_up(profile: str) -> None:
    """Install the profile; by uv, or by pip where uv cannot download."""
    started = time.monotonic()
    python = find_python()
    STAMP.unlink(missing_ok=True)
    say(f"setting up .venv ({profile}) with {python}")
    if not by_uv(python, PROFILES[profile]):
        say("uv could not do it here: falling back to venv and pip, about a minute")
        by_pip(python, PROFILES[profile])
    STAMP.write_text(f"{profile} {current_fingerprint()}\n", encoding="utf-8")
    say(f"ready in {time.monotonic() - started:.1f} s")


def find_python() -> str:
    """The Python to build with: $PYTHON, else this one, else a newer one on the PATH."""
    names = [os.environ.get("PYTHON") or "", sys.executable]
    names += ["python3", *(f"python3.{minor}" for minor in (13, 12, 11, 14))]
    probe = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    for name in filter(None, names):
        if succeeds([name, "-c", probe]) and succeeds([name, "-m", "pip", "--version"]):
            return name
    raise SystemExit(
        f"crossdock needs Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer with pip, "
        "and found none.\nInstall one, or name it: make setup PYTHON=/path/to/python3.11"
    )


def succeeds(command: list[str]) -> bool:
    """Whether the command exists and ends well; its output is dropped."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def by_uv(python: str, lock: str) -> bool:
    """Install with uv; whether that went well."""
    environment = uv_environment(python)
    uv = str(uv_program())
    into = ["--python", str(VENV_PYTHON)]
    commands = [
        [uv, "pip", "sync", "-q", *into, "--require-hashes", lock],
        [uv, "pip", "install", "-q", *into, *editable_arguments()],
    ]
    if not usable_venv():
        commands.insert(0, [uv, "venv", "-q", "--clear", "--python", python, str(VENV)])
    return install_uv(python) and all(run(command, environment) for command in commands)


def uv_program() -> Path:
    """Where the pinned uv lies; another pin lies elsewhere."""
    pin = hashlib.sha256((ROOT / "bootstrap.lock").read_bytes()).hexdigest()[:12]
    return TOOLS / f"uv-{pin}" / "bin" / "uv"


def install_uv(python: str) -> bool:
    """Put the pinned uv where it belongs unless it is there; whether it now is."""
    uv = uv_program()
    if uv.exists():
        return True
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--upgrade"]
    into = ["--require-hashes", "--target", str(uv.parent.parent), "-r", "bootstrap.lock"]
    return run([*pip, *into], dict(os.environ))


def uv_environment(python: str) -> dict[str, str]:
    """The environment for uv: it does not read pip's settings, so it is told of them."""
    environment = {
        "UV_HTTP_TIMEOUT": "30",
        "UV_SYSTEM_CERTS": "true",
        "UV_PYTHON_DOWNLOADS": "never",
        **os.environ,
    }
    settings = pip_settings(python)
    for variable, name in (("UV_DEFAULT_INDEX", "index-url"), ("SSL_CERT_FILE", "cert")):
        if name in settings:
            environment.setdefault(variable, settings[name])
    return environment


def pip_settings(python: str) -> dict[str, str]:
    """What pip is set to, by its files and the environment, which comes last and wins."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, str] = {}
    for scope in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            if line.startswith(scope) and "=" in line:
                name, value = line[len(scope) :].split("=", 1)
                found[name] = value.strip("'\"")
    return found


def by_pip(python: str, lock: str) -> None:
    """Install with venv and pip; end the program when that fails too."""
    environment = dict(os.environ)
    pip = [str(VENV_PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    commands = [
        [python, "-m", "venv", "--clear", str(VENV)],
        [*pip, "--require-hashes", "-r", lock],
        [*pip, *editable_arguments()],
    ]
    for command in commands:
        if not run(command, environment):
            raise SystemExit("set-up failed: see the message above")


def editable_arguments() -> list[str]:
    """Arguments that install our own distributions in place; all they need is in the lock."""
    return ["--no-deps", "--no-build-isolation", *(f"-e./{folder}" for folder in DISTRIBUTIONS)]


def usable_venv() -> bool:
    """Whether .venv is there and its interpreter still runs."""
    return VENV_PYTHON.exists() and succeeds([str(VENV_PYTHON), "-c", "import encodings"])


def run(command: list[str], environment: dict[str, str]) -> bool:
    """Run one step in the repository; whether it ended well in time."""
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=STEP_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as problem:
        say(f"{Path(command[0]).name}: {problem}")
        return False
    return done.returncode == 0


def say(text: str) -> None:
    """Tell the person at the terminal, at once."""
    print(f"[setup] {text}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
