"""The plots. Each takes the kept results and returns an SVG, or None if the results lack its data."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contestants.contestant import SEATLINE
from bench.measuring.saturation import LADDER
from bench.peers.registry import PEERS

Results = dict[str, Any]
COLOURS = {
    SEATLINE: "#1b6ca8", "stored_function": "#d1495b", "skip_locked": "#edae49", "conventional": "#8d6a9f",
    "redis_lua": "#66a182", "ray_per_request": "#8c8c8c", "echo": "#c8c8c8",
}  # fmt: skip
WIDTH, HEIGHT = 9.0, 4.2
mpl.rcParams.update({"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
mpl.rcParams["svg.hashsalt"] = "seatline"  # the same results give the same file


def label(name: str) -> str:
    """The label of a contestant."""
    return "Seatline" if name == SEATLINE else PEERS[name].label.replace("\n", " ") if name in PEERS else name


def throughput(results: Results) -> str | None:
    """Bars by workload and contestant, on a logarithmic axis."""
    medians = results.get("throughput", {}).get("medians")
    if not medians:
        return None
    figure, axes = _figure()
    names = list(dict.fromkeys(name for by_name in medians.values() for name in by_name))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [place for place, by_name in enumerate(medians.values()) if name in by_name]
        heights = [by_name[name]["per_s"] for by_name in medians.values() if name in by_name]
        bars = axes.bar(
            [place + (number - len(names) / 2 + 0.5) * width for place in places], heights, width,
            label=label(name), color=COLOURS.get(name),
        )  # fmt: skip
        axes.bar_label(bars, [f"{one:,.0f}" for one in heights], rotation=90, padding=2, fontsize=6)
    axes.set_xticks(range(len(medians)), [one.replace("_", " ") for one in medians])
    axes.set_yscale("log")
    axes.margins(y=0.25)
    axes.set_ylabel("enrolments (reads, mixed, churn: answers) per second")
    _legend(axes)
    return to_svg(figure)


def at_once(results: Results) -> str | None:
    """Throughput against the number of requests under way, by workload."""
    probes = results.get("throughput", {}).get("probes")
    if not probes:
        return None
    figure, panels = plt.subplots(1, len(probes), figsize=(WIDTH, HEIGHT), layout="constrained", squeeze=False)
    for axes, (workload, by_name) in zip(panels[0], probes.items(), strict=True):
        for name, rates in by_name.items():
            points = [(int(connections), rate) for connections, rate in rates.items() if rate]
            axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS.get(name), label=label(name))
        axes.set_xscale("log")
        axes.set_xticks(LADDER, [f"{connections:,}" for connections in LADDER])
        axes.minorticks_off()
        axes.set_yscale("log")
        axes.set_title(workload.replace("_", " "))
        axes.set_xlabel("requests under way")
    panels[0][0].set_ylabel("per second (one short probe each)")
    shown = {line.get_label(): line for axes in panels[0] for line in axes.get_lines()}
    figure.legend(shown.values(), shown.keys(), fontsize=7, loc="outside right upper", frameon=False)
    return to_svg(figure)


def cost(results: Results) -> str | None:
    """CPU time of the server for an enrolment, by workload and contestant."""
    costs = {name: one for name, one in results.get("cpu_us_per_enrolment", {}).items() if one}
    workloads = list(dict.fromkeys(workload for one in costs.values() for workload in one))
    if not costs:
        return None
    figure, axes = _figure()
    width = 0.8 / len(costs)
    for number, (name, by_workload) in enumerate(costs.items()):
        places = [place for place, workload in enumerate(workloads) if workload in by_workload]
        heights = [by_workload[workload] for workload in workloads if workload in by_workload]
        shifted = [place + (number - len(costs) / 2 + 0.5) * width for place in places]
        axes.bar(shifted, heights, width, label=label(name), color=COLOURS.get(name))
    axes.set_xticks(range(len(workloads)), [one.replace("_", " ") for one in workloads])
    axes.set_yscale("log")
    axes.set_ylabel("CPU of all server processes, us per enrolment")
    _legend(axes)
    return to_svg(figure)


def latency(results: Results) -> str | None:
    """Latency against the offered rate: p50 (solid) and p99 (dashed)."""
    points = results.get("latency", {}).get("points")
    if not points:
        return None
    figure, axes = _figure()
    for name in dict.fromkeys(point["contestant"] for point in points):
        own = [point for point in points if point["contestant"] == name and point["latency_ms"]]
        rates = [point["offered_per_s"] for point in own]
        for percentile, style in (("p50", "-"), ("p99", "--")):
            heights = [point["latency_ms"][percentile] for point in own]
            axes.plot(rates, heights, style, marker="o", color=COLOURS.get(name), label=f"{label(name)}, {percentile}")
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.set_xlabel("offered enrolments per second (open loop)")
    axes.set_ylabel("ms from the intended start")
    _legend(axes)
    return to_svg(figure)


def batches(results: Results) -> str | None:
    """Commands in one turn of a section actor against the offered rate."""
    points = [one for one in results.get("latency", {}).get("points", []) if one.get("batch_mean")]
    if not points:
        return None
    figure, axes = _figure()
    rates, sizes = [one["offered_per_s"] for one in points], [one["batch_mean"] for one in points]
    axes.plot(rates, sizes, marker="o", color=COLOURS[SEATLINE])
    axes.set_xlabel("offered enrolments per second (open loop)")
    axes.set_ylabel("enrolments in one transaction, mean")
    axes.set_ylim(bottom=0)
    return to_svg(figure)


def ablation(results: Results) -> str | None:
    """The throughput of each variant as a share of that of the default."""
    variants = results.get("ablation", {}).get("variants")
    if not variants:
        return None
    figure, axes = _figure()
    names = list(dict.fromkeys(one["variant"] for one in variants))
    workloads = list(dict.fromkeys(one["workload"] for one in variants))
    height = 0.8 / len(workloads)
    for number, workload in enumerate(workloads):
        ratios = [
            next((o["ratio"] for o in variants if (o["variant"], o["workload"]) == (n, workload)), 0) for n in names
        ]
        places = [place + (number - len(workloads) / 2 + 0.5) * height for place in range(len(names))]
        bars = axes.barh(places, ratios, height, label=workload)
        axes.bar_label(bars, [f"{one:.2f}" for one in ratios], padding=2, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("throughput over that of the default")
    _legend(axes)
    return to_svg(figure)


def scaling(results: Results) -> str | None:
    """Throughput as the catalogue and the students grow."""
    sizes = results.get("scale", {}).get("sizes")
    if not sizes:
        return None
    figure, axes = _figure()
    names = [f"{one['size']}\n{one['sections']:,} sections\n{one['students']:,} students" for one in sizes]
    bars = axes.bar(names, [one["per_s"] for one in sizes], color=COLOURS[SEATLINE])
    axes.bar_label(bars, [f"{one['per_s']:,.0f}/s\n{one['actor_pss_mb']:,.0f} MB" for one in sizes], fontsize=7)
    axes.margins(y=0.2)
    axes.set_ylabel("enrolments per second")
    return to_svg(figure)


Plot = Callable[[Results], str | None]
PLOTS: dict[str, Plot] = {
    "Throughput at saturation": throughput,
    "Throughput against requests under way": at_once,
    "Latency against offered rate": latency,
    "Batch size against load": batches,
    "Server CPU of an enrolment": cost,
    "Variants of Seatline": ablation,
    "As catalogue and students grow": scaling,
}


def _figure() -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def to_svg(figure: Figure) -> str:
    """A figure as an SVG element; the figure is closed."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]
