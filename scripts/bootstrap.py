# ruff: noqa: S603, T201  (calling programs and printing is all that this does)
"""Make .venv from requirements.lock, with nothing but an interpreter and its pip. Standard library only.

pip fetches uv into .tools (which Debian's externally managed Python allows), uv makes the environment. Both
check every file against the hashes in the lock files. A stamp records what .venv was made from, so that a
second run does nothing.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
STAMP = VENV / ".seatline-stamp"
UV = TOOLS / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
TOOLS_LOCK = ROOT / "scripts" / "tools.lock"


class BootstrapError(Exception):
    """Set-up cannot go on; the message says what to do."""


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show a step as it begins and its time when it is done."""
    started = time.monotonic()
    say(f"bootstrap: {what:<48}", end="")
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - started:6.1f} s")


def digest(*paths: Path, extra: str = "") -> str:
    """One hash over the files' contents and ``extra``."""
    total = hashlib.sha256(extra.encode())
    for path in paths:
        total.update(path.read_bytes())
        total.update(b"\0")
    return total.hexdigest()


def venv_key() -> str:
    """What .venv depends on. The place counts too: scripts in an environment name it."""
    return digest(LOCK, ROOT / "pyproject.toml", Path(__file__), extra=f"{sys.version_info[:3]} {sys.platform} {ROOT}")


def read(path: Path) -> str:
    """The file's text, or nothing when there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def run(command: list[str], env: dict[str, str]) -> None:
    """Run quietly; on failure show all that the command said."""
    result = subprocess.run(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        output = (result.stdout + result.stderr).strip()
        raise BootstrapError(f"{Path(command[0]).name} failed (exit {result.returncode}):\n{output}")


def check_writable() -> None:
    """Refuse a checkout that is another user's before anything is half made in it."""
    for path in (ROOT, VENV, TOOLS):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            owner: str | int = path.stat().st_uid
            with suppress(KeyError):
                owner = path.owner()
            raise BootstrapError(
                f"{path} belongs to {owner} and this user cannot write it: run as {owner}, or make a clone of your own"
            )


def base_python() -> str:
    """The interpreter outside any environment: that is where pip lives."""
    return getattr(sys, "_base_executable", None) or sys.executable


def pip_command(env: dict[str, str]) -> list[str] | None:
    """How to call pip: the interpreter's own, or the copy that ensurepip carries; else None."""
    python = base_python()
    if subprocess.run([python, "-m", "pip", "--version"], env=env, capture_output=True, check=False).returncode == 0:
        return [python, "-m", "pip"]
    script = (
        "import ensurepip, glob, os; here = os.path.join(os.path.dirname(ensurepip.__file__), '_bundled');"
        "print(*glob.glob(here + '/pip-*.whl'), *glob.glob('/usr/share/python-wheels/pip-*.whl'), sep='\\n')"
    )
    found = subprocess.run([python, "-c", script], env=env, capture_output=True, text=True, check=False)
    wheels = found.stdout.split("\n")
    # A wheel is a zip file that the interpreter can run from: nothing gets added to the system's packages.
    return [python, f"{wheels[0]}/pip"] if found.returncode == 0 and wheels[0] else None


def pip_settings(pip: list[str], env: dict[str, str]) -> dict[str, str]:
    """pip's own settings, from files and from the environment, the more special ones winning."""
    listed = subprocess.run([*pip, "config", "list"], env=env, capture_output=True, text=True, check=False)
    settings: dict[str, tuple[int, str]] = {}
    for line in listed.stdout.splitlines():
        name, separator, value = line.partition("=")
        scope, dot, key = name.rpartition(".")
        rank = {"global": 0, "install": 1, ":env:": 2}.get(scope)
        if not separator or not dot or rank is None:
            continue
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
        if key not in settings or settings[key][0] <= rank:
            settings[key] = (rank, text)
    return {key: text for key, (_, text) in settings.items()}


def is_there(url: str) -> bool:
    """False for a local address that leads nowhere; pip shrugs at those and uv would stop."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).is_dir()
    return bool(parts.scheme) or Path(url).is_dir()


def uv_environment(pip: list[str] | None, env: dict[str, str]) -> dict[str, str]:
    """The environment for uv: pip's settings in uv's words, where the user gave uv none.

    By environment rather than by argument, as addresses may carry passwords.
    """
    uv = {**env, "UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON_PREFERENCE": "only-system", "UV_NO_PROGRESS": "1"}
    uv.pop("VIRTUAL_ENV", None)
    settings = pip_settings(pip, env) if pip else {}
    if "index-url" in settings and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & uv.keys():
        uv["UV_DEFAULT_INDEX"] = settings["index-url"]
    extra = [url for url in settings.get("extra-index-url", "").split() if is_there(url)]
    if extra and not {"UV_INDEX", "UV_EXTRA_INDEX_URL"} & uv.keys():
        uv["UV_INDEX"] = " ".join(extra)
        # pip looks into every index; which file is taken is settled by the hashes.
        uv.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    links = [link for link in settings.get("find-links", "").split() if is_there(link)]
    if links:
        uv.setdefault("UV_FIND_LINKS", ",".join(links))
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        uv.setdefault("UV_NO_INDEX", "1")
    certificate = settings.get("cert", "")
    if certificate and Path(certificate).is_file():
        uv.setdefault("SSL_CERT_FILE", certificate)
    if settings.get("trusted-host"):
        uv.setdefault("UV_INSECURE_HOST", " ".join(settings["trusted-host"].split()))
    if settings.get("proxy"):
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if name.lower() not in uv:
                uv.setdefault(name, settings["proxy"])
    uv.setdefault("UV_HTTP_TIMEOUT", settings.get("default-timeout") or settings.get("timeout") or "120")
    home = Path(uv.get("HOME") or "/")
    if "UV_CACHE_DIR" not in uv and "XDG_CACHE_HOME" not in uv and not os.access(home, os.W_OK):
        uv["UV_CACHE_DIR"] = str(TOOLS / "cache")
    return uv


def get_uv(pip: list[str] | None, env: dict[str, str]) -> Path:
    """uv in the version that tools.lock names, fetched once."""
    stamp = TOOLS / "stamp"
    key = digest(TOOLS_LOCK, extra=sys.platform)
    if UV.exists() and read(stamp) == key:
        return UV
    if pip is None:
        found = shutil.which("uv")
        if found:
            return Path(found)
        raise BootstrapError(
            f"{base_python()} has no pip and cannot bring it up: install it "
            "(Debian: apt-get install python3-pip), or choose another with PYTHON=/path/to/python3"
        )
    for old in TOOLS.iterdir():
        if old.name not in {"lock", "cache"}:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    # A user's pip may be told to refuse work outside an environment, or to install for the user.
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with step("fetch uv"):
        options = ["--quiet", "--no-input", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        run([*pip, "install", *options, "--target", str(TOOLS), "-r", str(TOOLS_LOCK)], {**env, **settings})
    stamp.write_text(key, encoding="utf-8")
    return UV


def venv_fits() -> bool:
    """Whether .venv has an interpreter that runs and is of this version."""
    try:
        script = "import sys; print(*sys.version_info[:3])"
        found = subprocess.run([VENV / "bin" / "python", "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.split() == [str(part) for part in sys.version_info[:3]]


def make_venv(env: dict[str, str]) -> None:
    """Bring .venv to exactly what requirements.lock says, and install this checkout into it."""
    pip = pip_command(env)
    uv = str(get_uv(pip, env))
    environment = uv_environment(pip, env)
    STAMP.unlink(missing_ok=True)
    if not venv_fits():
        with step(f"make .venv with Python {sys.version.split()[0]}"):
            run([uv, "venv", "--quiet", "--clear", "--python", base_python(), str(VENV)], environment)
    target = ["--quiet", "--python", str(VENV / "bin" / "python")]
    count = sum(1 for line in LOCK.read_text(encoding="utf-8").splitlines() if "==" in line.split("#")[0])
    with step(f"install packages (of {count} in requirements.lock)"):
        run([uv, "pip", "sync", *target, "--require-hashes", str(LOCK)], environment)
    with step("install seatline itself"):
        run(
            [uv, "pip", "install", *target, "--no-build-isolation", "--no-deps", "--editable", str(ROOT)],
            environment,
        )
    STAMP.write_text(venv_key(), encoding="utf-8")


def write_locks(more: list[str], env: dict[str, str]) -> None:
    """Resolve and write both lock files, without addresses. Pins stay unless ``more`` has --upgrade."""
    pip = pip_command(env)
    uv = str(get_uv(pip, env))
    environment = uv_environment(pip, env)
    options = ["--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"]
    options += ["--custom-compile-command", "make lock", *more]
    with step("resolve scripts/tools.in"):
        run([uv, "pip", "compile", *options, "scripts/tools.in", "-o", "scripts/tools.lock"], environment)
    with step("resolve pyproject.toml"):
        run(
            [uv, "pip", "compile", *options, "--all-extras", "pyproject.toml", "-o", "requirements.lock"],
            environment,
        )
    with step("pick what nodes install from it"):
        # No tests, no benchmarks, no embedded services; the versions are those of requirements.lock.
        nodes = ["--extra", "aws", "--constraints", "requirements.lock", "--no-annotate"]
        run([uv, "pip", "compile", *options, *nodes, "pyproject.toml", "-o", "requirements-nodes.lock"], environment)


def main(arguments: list[str]) -> None:
    if STAMP.exists() and read(STAMP) == venv_key() and not arguments and venv_fits():
        return
    check_writable()
    TOOLS.mkdir(exist_ok=True)
    started = time.monotonic()
    with (TOOLS / "lock").open("w") as lock:
        # Two makes at once: the second waits, then finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
        if arguments[:1] == ["--lock"]:
            write_locks(arguments[1:], env)
        elif arguments:
            raise BootstrapError(f"unknown argument: {' '.join(arguments)}")
        elif read(STAMP) != venv_key():
            make_venv(env)
            say(f"bootstrap: ready after {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BootstrapError, OSError) as error:
        say(f"bootstrap: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
