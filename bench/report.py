"""A load's result as text and as JSON."""

from typing import Any

from .histogram import Histogram
from .spec import LoadResult, LoadSpec

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def milliseconds(nanoseconds: float) -> str:
    """With three digits after the point: microseconds."""
    return f"{nanoseconds / 1e6:,.3f}"


def latency_summary(histogram: Histogram) -> dict[str, float]:
    """Percentiles, mean and maximum in milliseconds."""
    named = {f"p{percent:g}": histogram.percentile(percent) for percent in PERCENTILES}
    rest = {"mean": histogram.mean_ns, "max": histogram.max_ns}
    return {name: round(value / 1e6, 6) for name, value in {**named, **rest}.items()}


def load_text(spec: LoadSpec, result: LoadResult) -> str:
    """What a person reads after a load."""
    driver = (
        f"pipelined driver, {spec.message_puts} puts a message"
        if spec.message_puts
        else (
            f"{spec.clients:,} clients on {spec.connections} connections, "
            f"worker processes: {spec.processes}, {result.event_loop}"
        )
    )
    loop = f", open loop at {spec.rate:,}/s" if spec.rate else ""
    lines = [
        f"{describe(spec)}: {driver}{loop}",
        f"{result.per_second:,.0f} requests/s: {result.succeeded:,} in {result.seconds:.3f} s, "
        f"{result.errors.total():,} errors",
    ]
    lines += [f"  {count:,} × {name}" for name, count in result.errors.most_common()]
    lines.append("")
    lines.append(" " * 8 + "".join(f"{name:>12}" for name in ("p50", "p90", "p99", "p99.9", "max")))
    for name, histogram in result.latencies.items():
        values = [*(histogram.percentile(percent) for percent in PERCENTILES), histogram.max_ns]
        lines.append(f"{name:<8}" + "".join(f"{milliseconds(value):>12}" for value in values))
    lines.append("latency in ms" + (", from the intended send time" if spec.rate else ""))
    return "\n".join(lines)


def describe(spec: LoadSpec) -> str:
    """The work in a few words."""
    reads = "serializable reads" if spec.serializable else "linearizable reads"
    sizes = f"{spec.key_size}-byte keys ({spec.keys:,} of them), {spec.value_size}-byte values"
    name = {
        "put": "puts",
        "range": reads,
        "mixed": f"{spec.read_percent} % {reads} among puts",
        "list": f"{reads} of all keys",
    }
    return f"{spec.total:,} {name[spec.kind]}, {sizes}"


def load_json(spec: LoadSpec, result: LoadResult) -> dict[str, Any]:
    """Everything about a load, for programs; the histograms' buckets are [ms, count]."""
    return {
        "spec": spec.to_json(),
        "event_loop": result.event_loop,
        "seconds": result.seconds,
        "succeeded": result.succeeded,
        "per_second": result.per_second,
        "errors": dict(result.errors),
        "latency_ms": {name: latency_summary(each) for name, each in result.latencies.items()},
        "histogram_ms": {
            name: [[middle / 1e6, count] for middle, count in each.buckets()]
            for name, each in result.latencies.items()
        },
    }
