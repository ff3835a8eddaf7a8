"""Ways of writes: kept, sampled, drawn, exported."""

import asyncio
import sys
from contextlib import suppress
from time import monotonic
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from sampan.client.trace import Trace
from sampan.config.model import ConfigError
from sampan.web import sampling, spans, traces
from sampan.web.cluster import Cluster
from sampan.web.picture import picture
from sampan.web.sampling import sample
from sampan.web.traces import Traces

from .fakes import HEADER, FakeClient, trace_of


def test_the_parts_of_a_write_are_all_of_it():
    trace = trace_of(took_s=0.010)
    assert sum(seconds for _, seconds in trace.parts()) == pytest.approx(trace.took_s)
    assert dict(trace.parts())["until a majority has it"] == pytest.approx(0.004)


def test_a_way_without_its_ends_says_nothing_of_its_time():
    trace = trace_of()
    for name in ("clientc", "resultc"):
        left = [step for step in trace.steps if step.name != name]
        assert trace._replace(steps=left).took_s == 0.0
        assert not Traces().keep(trace._replace(steps=left))


def test_the_last_and_the_slowest_are_kept():
    kept, now = Traces(), monotonic()
    for revision in range(1, 40):
        assert kept.keep(trace_of(revision, took_s=revision / 1000, began=now - 70 + 2 * revision))
    assert not kept.keep(trace_of(39, began=now)), "it is there already"
    told = kept.told()
    assert [write[0] for write in told["last"]] == list(range(39, 5, -1))
    assert [write[0] for write in told["slowest"]] == list(range(39, 39 - traces.SLOWEST_MAX, -1))
    assert sum(seconds for _, seconds in told["parts"]) == pytest.approx(sum(range(6, 40)) / 34000)
    assert kept.find(30).revision == 30
    assert kept.find(3) is None


def test_nothing_kept_is_told_so():
    assert Traces().told() == {"last": [], "slowest": [], "parts": []}


class Growing(FakeClient):
    """So many revisions are there each time it is asked."""

    def __init__(self, revisions):
        super().__init__([], revision=0)
        self._revisions = iter(revisions)

    async def get(self, key, **options):
        try:
            return SimpleNamespace(header=HEADER._replace(revision=next(self._revisions)))
        except StopIteration:
            raise asyncio.CancelledError from None


@pytest.mark.parametrize(
    ("revisions", "taken"),
    [((0, 999, 1000, 1500, 2003), [1000, 2000]), ((4500, 4999), []), ((10, 9), [])],
)
def test_writes_are_sampled_by_their_revisions(monkeypatch, revisions, taken):
    monkeypatch.setattr(sampling, "EVERY_S", 0.0)
    monkeypatch.setattr(sampling, "A_SECOND_MAX", 1e9)
    client, exported = Growing(revisions), []
    cluster = Cluster(client)
    cluster.places = {1: None}
    with suppress(asyncio.CancelledError):
        asyncio.run(sample(cluster, 0.001, Traces(), lambda t: exported.append(t.revision)))
    assert client.traced == exported == taken


def test_what_another_member_took_is_not_exported_twice(monkeypatch):
    monkeypatch.setattr(sampling, "EVERY_S", 0.0)
    monkeypatch.setattr(sampling, "A_SECOND_MAX", 1e9)
    client, exported, kept = Growing((0, 1, 2)), [], Traces()
    client.trace = lambda revision: asyncio.sleep(0, trace_of(revision, member=2))
    cluster = Cluster(client)
    cluster.places = {1: None}
    with suppress(asyncio.CancelledError):
        asyncio.run(sample(cluster, 1.0, kept, exported.append))
    assert exported == []
    assert kept.find(1) is not None


def test_a_picture_has_a_line_for_each_actor_and_all_steps():
    trace = trace_of()
    drawn = ElementTree.fromstring(picture(trace, {1: "<n1>", 2: "n2"}))
    texts = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<n1> node", "<n1> raft_core", "<n1> wal_writer", "n2 raft_core"} <= set(texts)
    assert [text for text in texts if text in {s.name for s in trace.steps}] == [
        step.name for step in trace.steps
    ]
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == len(trace.steps)


def test_a_picture_of_nothing_is_one():
    ElementTree.fromstring(picture(Trace(1, 1, 1, 1, [], {}, 0.0), {}))


def test_a_receiver_that_is_named_wants_the_package(monkeypatch):
    for name in spans.WANTED_BY:
        monkeypatch.delenv(name, raising=False)
    assert spans.exporter("n1") is None
    monkeypatch.setenv(spans.WANTED_BY[0], "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ConfigError, match=r"install sampan\[otel\]"):
        spans.exporter("n1")


def test_spans_hold_the_parts_and_the_steps():
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    trace = trace_of(began=monotonic())
    spans.Spans("n1", SimpleSpanProcessor(memory)).export(trace)
    *parts, whole = memory.get_finished_spans()
    assert [span.name for span in parts] == [text for text, _ in trace.parts()]
    assert {span.parent.span_id for span in parts} == {whole.context.span_id}
    assert whole.end_time - whole.start_time == pytest.approx(1e9 * trace.took_s, rel=1e-3)
    assert [event.name for event in whole.events] == [step.name for step in trace.steps]
    took_ns = sum(span.end_time - span.start_time for span in parts)
    assert took_ns == pytest.approx(1e9 * trace.took_s, rel=0.01)
