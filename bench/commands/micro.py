"""``seatline bench micro``: microbenchmarks, with pytest-benchmark."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from bench.measuring.options import NoPeers, ResultAsJson, Seconds
from bench.report.results import DIRECTORY, keep
from bench.report.tables import show_rows
from cluster.cli.common import Exit, err, print_json

HERE = Path(__file__).resolve().parents[1] / "micro"
STORAGE = DIRECTORY / "micro"
BASELINE = "baseline"


def micro(
    seconds: Seconds = 1.0,
    save: Annotated[bool, typer.Option("--save", help="Keep the figures as the baseline of this machine.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare with the baseline, which is made if there is none.")
    ] = False,
    peers: NoPeers = "none",
    as_json: ResultAsJson = False,
) -> None:
    """Microbenchmarks of domain, serialization, gateway and store.

    Figures depend on the machine, so the baseline is kept with the results and not with the code.

    Examples:

        seatline bench micro --save

        seatline bench micro --compare
    """
    del peers
    baseline = sorted(STORAGE.rglob(f"*_{BASELINE}.json"))
    if compare and not baseline:
        err.print("[yellow]There is no baseline yet: these figures become it.[/]")
        save, compare = True, False
    if save:
        for old in baseline:
            old.unlink()
    options = ["--benchmark-save", BASELINE] if save else []
    if compare:
        options += ["--benchmark-compare", "--benchmark-columns=median,iqr,ops"]
    finish(measure_micro(seconds, options, quiet=as_json), as_json=as_json)


def measure_micro(seconds: float, options: list[str], *, quiet: bool) -> dict[str, Any]:
    """Run all microbenchmarks in a process of their own.

    Raises:
        typer.Exit: if one failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "micro.json"
        command = [
            sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), str(HERE),
            "--benchmark-storage", STORAGE.as_uri(), "--benchmark-max-time", str(seconds),
            "--benchmark-json", str(found), *options,
        ]  # fmt: skip
        done = subprocess.run(command, check=False, stdout=sys.stderr if quiet else None, cwd=HERE.parents[1])  # noqa: S603
        if done.returncode != 0:
            raise typer.Exit(int(Exit.FAILURE))
        rows = orjson.loads(found.read_bytes())["benchmarks"]
    result = {
        "benchmarks": {
            row["name"].removeprefix("time_"): {
                "median_us": round(row["stats"]["median"] * 1e6, 2),
                "iqr_us": round(row["stats"]["iqr"] * 1e6, 2),
                "rounds": row["stats"]["rounds"],
            }
            for row in rows
        }
    }
    keep("micro", result)
    return result


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the medians."""
    if as_json:
        print_json(result)
        return
    rows: list[list[object]] = [
        [name.replace("_", " "), one["median_us"], one["iqr_us"], one["rounds"]]
        for name, one in result["benchmarks"].items()
    ]
    show_rows("Microbenchmarks", ["what", "median us", "iqr us", "rounds"], rows)
