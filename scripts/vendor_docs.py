"""Fetch the scripts of the documentation pages from npm into api/web/vendor. Run by hand, to take a newer version.

Nothing of this happens when Seatline is set up, run or tested: the files are part of the repository.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parent.parent / "api" / "web" / "vendor"

PACKAGES = {
    "swagger-ui": (
        "swagger-ui-dist@5",
        ("swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css", "LICENSE", "NOTICE"),
    ),
    "redoc": (
        "redoc@2",
        ("bundles/redoc.standalone.js", "bundles/redoc.standalone.js.LICENSE.txt", "LICENSE"),
    ),
}

# ReDoc draws its maker's logo from a CDN and hides it where it cannot be had: spare readers the request.
EDITS = {"redoc.standalone.js": (b'src:"https://cdn.redoc.ly/redoc/logo-mini.svg"', b'src:"data:,"')}


def main() -> None:
    """Replace every vendored file, and write down where it came from."""
    lines = ["# Vendored by scripts/vendor_docs.py; do not edit. SHA-256 of each file as it is here.", ""]
    for name, (spec, members) in PACKAGES.items():
        archive_name, archive = _pack(spec)
        target = VENDOR / name
        target.mkdir(parents=True, exist_ok=True)
        lines.append(f"## {name}: {archive_name}")
        for member in members:
            content = _edited(Path(member).name, _read(archive, f"package/{member}"))
            (target / Path(member).name).write_bytes(content)
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}/{Path(member).name}")
        lines.append("")
    (VENDOR / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _pack(spec: str) -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        command = ["npm", "pack", "--silent", "--pack-destination", directory, spec]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603
        (path,) = Path(directory).iterdir()
        return path.name, path.read_bytes()


def _read(archive: bytes, member: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        opened = tar.extractfile(member)
        if opened is None:
            raise SystemExit(f"{member} is not a file")
        return opened.read()


def _edited(name: str, content: bytes) -> bytes:
    if name not in EDITS:
        return content
    old, new = EDITS[name]
    if content.count(old) != 1:
        raise SystemExit(f"{name} has changed: look again at what it fetches, and mend EDITS")
    return content.replace(old, new)


if __name__ == "__main__":
    main()
