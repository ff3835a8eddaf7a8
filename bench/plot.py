"""Plots, when matplotlib is installed."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import BenchError
from .histogram import Histogram

_QUANTILES = [1 - 10 ** (-step / 20) for step in range(101)]
"""0 to 99.999 %, evenly spaced in the number of nines."""


def check_plot(path: Path) -> None:
    """Refuse early what would only fail after the measurement.

    Raises:
        BenchError: when matplotlib is missing or the file's kind is unknown.
    """
    if path.suffix not in (".png", ".svg"):
        raise BenchError(f"--plot writes .png or .svg files, not {path.name}")
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: pip install 'sampan[bench]'")


def _figure(width: float, height: float) -> Any:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    return importlib.import_module("matplotlib.figure").Figure(
        figsize=(width, height), layout="constrained"
    )


def plot_latencies(path: Path, title: str, latencies: Mapping[str, Histogram]) -> None:
    """The latency of each percentile, one line an operation; the axis counts nines."""
    figure = _figure(8, 4.5)
    axes = figure.add_subplot()
    for name, histogram in latencies.items():
        values = [histogram.percentile(100 * quantile) / 1e6 for quantile in _QUANTILES]
        axes.plot([1 / (1 - quantile) for quantile in _QUANTILES], values, label=name)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 10, 100, 1000, 10_000, 100_000])
    axes.set_xticklabels(["0", "50", "90", "99", "99.9", "99.99", "99.999"])
    axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel="percentile", ylabel="latency, ms")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)


def plot_ratios(path: Path, title: str, ratios: Mapping[str, Mapping[str, float]]) -> None:
    """For each system a bar for each row: how many times better than etcd it did."""
    rows = list(next(iter(ratios.values())))
    figure = _figure(9, 1 + 0.5 * len(rows))
    axes = figure.add_subplot()
    height = 0.8 / len(ratios)
    for place, (system, values) in enumerate(ratios.items()):
        positions = [row + place * height for row in range(len(rows))]
        bars = axes.barh(positions, [values[row] for row in rows], height, label=system)
        axes.bar_label(bars, fmt="%.2f×", padding=3)
    axes.margins(x=0.1)  # room for the numbers
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(rows))], rows)
    axes.invert_yaxis()
    axes.set(title=title, xlabel="times better than etcd")
    axes.legend()
    figure.savefig(path)
