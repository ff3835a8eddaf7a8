"""The way of one write as a picture: a line for each actor, a dot for each step, time to the right.

For the live page and the guides. It is light or dark as its reader is.
"""

from collections.abc import Callable, Mapping
from xml.sax.saxutils import escape

from ..client.trace import Step, Trace

LEFT, WIDTH, ROW, TOP, RIGHT = 150, 1100, 46, 44, 90
LABEL_APART = 74
"""Names of steps that are nearer than this on a line stand on other heights."""
ACTORS = ("node", "raft_core", "wal_writer", "applier")

STYLE = """
text{font:12px system-ui,sans-serif;fill:#1c2430}.dim{fill:#55606e}.rule{stroke:#d8dde3}
.lane{stroke:#b6c0cb}.hop{stroke:#0b6e4f;stroke-width:1.5;fill:none}.peer{stroke-dasharray:5 4}
circle{fill:#2c5a8a}rect{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#e6ebf0}.dim{fill:#9aa7b4}.rule{stroke:#2f3b47}
.lane{stroke:#4b5866}.hop{stroke:#4ec9a0}circle{fill:#7fb2e5}rect{fill:#19212a}}
"""

_HOPS = (
    ("clientc", "propc"), ("propc", "propose"), ("propose", "readyc"), ("readyc", "write"),
    ("recvc", "readyc"), ("write", "fsync"), ("applyc", "applied"), ("applied", "resultc"),
)  # fmt: skip
"""Steps of one member that follow from each other; between members it is what a step names as its
peer."""

Lane = tuple[int, str]
Place = Callable[[float], float]
Height = Callable[[Step], float]


def picture(trace: Trace, names: Mapping[int, str]) -> str:
    """The picture as SVG; `names` of members by their ids."""
    lanes = _lanes(trace)
    end = max((step.at for step in trace.steps), default=0.0) or 1e-6
    height = TOP + ROW * len(lanes) + 10

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / end

    def y(step: Step) -> float:
        return TOP + ROW * (lanes[step.member_id, step.actor] + 0.5)

    title = f"revision {trace.revision}, entry {trace.entry} of term {trace.term}"
    if trace.took_s:
        title += f": {1000 * trace.took_s:.2f} ms"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f'<rect width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text x="10" y="18">{title}</text>',
        *_ticks(end, height, x),
        *_rows(lanes, names),
        *(
            f'<path class="hop{" peer" if a.member_id != b.member_id else ""}" '
            f'd="M{x(a.at):.1f} {y(a):.1f} L{x(b.at):.1f} {y(b):.1f}"/>'
            for a, b in _hops(trace)
        ),
        *_dots(trace, x, y),
    ]
    return "".join((*parts, "</svg>"))


def _lanes(trace: Trace) -> dict[Lane, int]:
    """A line for each actor that did something: those of who took the write first."""
    members = dict.fromkeys([trace.member_id, *(step.member_id for step in trace.steps)])
    did = {(step.member_id, step.actor) for step in trace.steps}
    ordered = [(m, actor) for m in members for actor in ACTORS if (m, actor) in did]
    return {lane: number for number, lane in enumerate(ordered)}


def _ticks(end: float, height: float, x: Place) -> list[str]:
    step = next(s for n in range(-5, 9) for s in (10**n, 2 * 10**n, 5 * 10**n) if end / s <= 10)
    marks = [step * i for i in range(int(end / step) + 1)]
    return [
        f'<path class="rule" d="M{x(at):.1f} {TOP - 8} V{height - 6}"/>'
        f'<text class="dim" x="{x(at):.1f}" y="{TOP - 12}" text-anchor="middle">'
        f"{1000 * at:g} ms</text>"
        for at in marks
    ]


def _rows(lanes: Mapping[Lane, int], names: Mapping[int, str]) -> list[str]:
    rows = []
    for (member, actor), number in lanes.items():
        at = TOP + ROW * (number + 0.5)
        name = escape(names.get(member, f"{member:x}"))
        rows.append(
            f'<path class="lane" d="M{LEFT} {at} H{WIDTH - 10}"/>'
            f'<text x="10" y="{at + 4}">{name} {actor}</text>'
        )
    return rows


def _dots(trace: Trace, x: Place, y: Height) -> list[str]:
    dots = []
    last: dict[Lane, tuple[float, int]] = {}  # where the last name on a line begins, and its height
    for step in trace.steps:
        before, level = last.get((step.member_id, step.actor), (-1e9, 1))
        at, row = x(step.at), y(step)
        level = 1 - level if at - before < LABEL_APART else 0
        last[step.member_id, step.actor] = (at, level)
        dots.append(
            f'<circle cx="{at:.1f}" cy="{row:.1f}" r="4"/>'
            f'<text x="{at - 4:.1f}" y="{row - 8 + 26 * level:.1f}">{escape(step.name)}</text>'
        )
    return dots


def _hops(trace: Trace) -> list[tuple[Step, Step]]:
    """What follows from what."""
    first: dict[tuple[int, str], Step] = {}
    for step in trace.steps:
        first.setdefault((step.member_id, step.name), step)
    found = [
        (a, b)
        for (member, name), a in first.items()
        for before, after in _HOPS
        if name == before and (b := first.get((member, after))) is not None and b.at >= a.at
    ]
    for step in trace.steps:
        sent = {"recvc": "readyc", "acknowledged": "fsync"}.get(step.name)
        cause = first.get((step.peer, sent)) if sent else None
        if cause is not None and cause.at <= step.at:
            found.append((cause, step))
    return found + _commits(trace)


def _commits(trace: Trace) -> list[tuple[Step, Step]]:
    """Who counts acknowledgements commits with one of them."""
    found = []
    for step in trace.steps:
        if step.name == "applyc":
            heard = [
                each for each in trace.steps
                if (each.member_id, each.name) == (step.member_id, "acknowledged")
                and each.at <= step.at
            ]  # fmt: skip
            found += [(each, step) for each in heard[-1:]]
    return found
