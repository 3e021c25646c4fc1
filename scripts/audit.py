"""Checks the packages of requirements.lock for known vulnerabilities.

Fails if there is one. If no database of vulnerabilities can be reached, as on a machine without the internet, it says
so and passes, unless with `--strict`: a check that did not run must not look like one that passed, and a build must
not need the internet.
All other arguments go to pip-audit: `--ignore-vuln ID`, `-s osv`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requirements", type=Path, default=LOCK, help="what to audit")
    parser.add_argument("--strict", action="store_true", help="fail, too, if something could not be audited")
    known, others = parser.parse_known_args()

    report, trouble = ask(known.requirements, others)
    vulnerable = [one for one in report if one.get("vulns")]
    unknown = [one for one in report if "skip_reason" in one]

    for package in vulnerable:
        for vulnerability in package["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            say(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    for package in unknown[:3]:
        say(f"not audited: {package['skip_reason']}")
    if trouble:
        say(f"not audited: {trouble}")
    if vulnerable:
        say(f"FAILED: {len(vulnerable)} of {len(report)} packages have known vulnerabilities")
        return 1
    if trouble or unknown or not report:
        say(f"NOT DONE: could not reach a list of vulnerabilities for {len(unknown) or 'any'} of the packages")
        return 1 if known.strict else 0
    say(f"{len(report)} packages, no known vulnerability")
    return 0


def ask(requirements: Path, options: list[str]) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each package; or nothing, and what the trouble was."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--no-deps"]
    command += ["--format", "json", "--progress-spinner", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines() or ["no answer"]
        return [], last[-1]


def say(line: str) -> None:
    sys.stdout.write(f"audit: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
