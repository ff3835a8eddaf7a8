"""The live page in a real browser: what it shows, how soon, and whether everybody can use it.

Needs a Chromium and the packages of `sampan[browser]`; `PICTURES=FOLDER` keeps screenshots there,
`PAGE_MINUTES=10` watches a page under load for so long, and `-s` prints what was measured.
"""

import asyncio
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sampan.client import AsyncClient

from ..ports import free_port
from .cluster import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium here")

WAIT_MS = 120_000
"""Generous: these machines are slow and shared. What was measured is printed."""
MINUTES = float(os.environ.get("PAGE_MINUTES", "0"))
PICTURES = os.environ.get("PICTURES", "")
ROLES = "[...document.querySelectorAll('.member .role')].map(e => e.textContent)"
ALL_SHOWN = f"{ROLES}.length == 3 && {ROLES}.filter(r => /leader|follower/.test(r)).length == 3"
DRAWN = "document.querySelector('#way img')?.naturalWidth > 0"
LED = f"{ROLES}.filter(r => r.includes('leader')).length == 1"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        with driver.chromium.launch(executable_path=CHROMIUM, args=flags) as running:
            yield running


@pytest.fixture
def placement():
    return "fused"


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster()
    for member in made.config["members"]:
        member["http"] = f"127.0.0.1:{free_port()}"
    return made.start()


def address(cluster, name="n1"):
    return next(f"http://{m['http']}/" for m in cluster.config["members"] if m["name"] == name)


@contextmanager
def looking(browser, url, **options):
    """A page that has loaded, on whose console nobody may complain."""
    page = browser.new_page(**options)
    page.set_default_timeout(WAIT_MS)
    complaints = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    page.close()
    assert complaints == []


def until(page, condition, what):
    """Wait for a condition of the page; prints how long it took. (The page itself would not let
    playwright evaluate text in it while it waits: its content security policy.)"""
    began = time.monotonic()
    wait_for(lambda: page.evaluate(condition), what)
    print(f"{what}: after {time.monotonic() - began:.2f} s")


def keep(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)


def test_it_shows_a_cluster_and_follows_it(browser, cluster):
    watched = address(cluster)
    with cluster.client() as client, looking(browser, watched) as page:
        until(page, f"{ALL_SHOWN} && {LED}", "three members shown")

        client.put("ship", "sampan")
        until(page, "document.querySelectorAll('#pick option').length", "a write to choose")
        page.select_option("#pick", index=0)
        until(page, DRAWN, "its way")
        steps = page.text_content("#way table")
        assert all(step in steps for step in ("clientc", "fsync", "recvc", "applied", "resultc"))

        # A leader that is killed: another one leads, and its node starts again.
        leader = cluster.wait_leader()
        terms = "Math.max(...[...document.querySelectorAll('.member dd:first-of-type')]"
        before = page.evaluate(f"{terms}.map(e => Number(e.textContent) || 0))")
        cluster.signal_node(leader, signal.SIGKILL)
        until(page, f"{terms}.map(e => Number(e.textContent) || 0)) > {before} && {LED}",
              "a new leader shown")  # fmt: skip
        until(page, f"{ALL_SHOWN} && {LED}", "the killed node shown again")
        events = page.text_content("#events")
        assert "a majority voted for it" in events
        assert "hears its leader" in events


def test_everybody_can_use_it(browser, cluster):
    with cluster.client() as client:
        client.put("ship", "sampan")
        for width, scheme in ((360, "dark"), (768, "light"), (1440, "light"), (1440, "dark")):
            size = {"width": width, "height": 900}
            with looking(browser, address(cluster), viewport=size, color_scheme=scheme) as page:
                until(page, f"{ALL_SHOWN} && {LED}", "three members shown")
                client.put("ship", "sampan")
                until(page, "document.querySelectorAll('#pick option').length", "a write to choose")
                page.select_option("#pick", index=0)
                until(page, DRAWN, "its way")
                found = axe.Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, "the page itself must not scroll sideways"
                keep(page, f"page-{width}-{scheme}")


def test_a_keyboard_is_enough(browser, cluster):
    with cluster.client() as client, looking(browser, address(cluster)) as page:
        until(page, f"{ALL_SHOWN} && {LED}", "three members shown")
        client.put("ship", "sampan")
        until(page, "document.querySelectorAll('#pick option').length", "a write to choose")
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(
                "(e => e.id || e.closest('article, details')?.tagName)(document.activeElement)"
            ))  # fmt: skip
            if reached[-1] == "revision":
                break
        assert reached[:3] == ["ARTICLE"] * 3
        assert {"flow", "DETAILS", "pick", "revision"} <= set(reached)
        page.keyboard.press("Enter")  # the newest
        page.wait_for_selector("#way img")

        others = page.locator(".member button[aria-pressed=false]")
        name = others.first.text_content()[:2]
        others.first.focus()
        page.keyboard.press("Enter")
        until(
            page, f"document.querySelector('#who').textContent == '{name}'", "another member inside"
        )


def press(page, lesson, step):
    """Press a button of a lesson and wait until it is done."""
    page.click(f"#lessons button:nth-child({lesson})")
    page.evaluate("document.querySelector('#ordered').textContent = ''")
    page.click(f"#lesson li:nth-child({step}) button")
    done = "document.querySelector('#ordered').textContent.startsWith('done')"
    until(page, done, f"step {step} of lesson {lesson} done")


def test_six_lessons(browser, make_cluster):
    cluster = make_cluster()
    for member in cluster.config["members"]:
        member["http"] = f"127.0.0.1:{free_port()}"
    cluster.flags = ("--lab",)
    cluster.start()
    term = "Math.max(...[...document.querySelectorAll('.member dd:first-of-type')]"
    term += ".map(e => Number(e.textContent) || 0))"
    events = "document.querySelector('#events').textContent"
    whole = f"{ALL_SHOWN} && {LED}"
    with looking(browser, address(cluster, "n3")) as page:
        until(page, whole, "three members shown")
        before = page.evaluate(term)
        press(page, 1, 1)  # an election
        until(page, f"{term} > {before} && {whole}", "another leader and the killed node")

        press(page, 2, 1)  # a lone put
        until(page, DRAWN, "its way")
        press(page, 3, 1)  # a batch
        until(page, DRAWN, "its way")

        before = page.evaluate(term)
        press(page, 4, 1)  # a partition
        until(page, f"{term} > {before} && {LED}", "another leader beside the old one")
        until(page, f"{events}.includes('CheckQuorum') || !{ROLES}.includes('● leader')",
              "the old one steps down")  # fmt: skip
        press(page, 4, 2)
        press(page, 4, 3)
        until(page, whole, "all of one mind")

        press(page, 5, 1)  # a slow follower
        until(page, f"{ROLES}.some(r => r.includes('away'))", "the follower is away")
        press(page, 5, 2)
        until(page, "isPast(away) && document.querySelector('#load').textContent == 'no load'",
              "the log has passed it")  # fmt: skip
        press(page, 5, 3)
        until(page, whole, "it is back")
        until(page, "!isPast(away)", "it was sent a snapshot")

        before = page.evaluate(term)
        press(page, 6, 1)  # a disturber
        until(page, f"{ROLES}.some(r => r.includes('candidate'))", "it asks for votes")
        press(page, 6, 2)
        until(page, whole, "it follows")
        assert page.evaluate(term) == before, "PreVote: no election"

        page.click("#lab summary")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        keep(page, "lab")


@contextmanager
def loaded(endpoints, clients=256):
    """Clients put meanwhile, as fast as they can; yields how many puts were done so far."""
    done, ended = [0], threading.Event()

    async def put(client, key):
        while not ended.is_set():
            await client.put(key, "x" * 100)
            done[0] += 1

    async def run():
        async with AsyncClient(endpoints, timeout_s=120) as client:
            await asyncio.gather(*(put(client, f"k{i}") for i in range(clients)))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield lambda: done[0]
    finally:
        ended.set()
        thread.join()


@pytest.mark.skipif(not MINUTES, reason="takes PAGE_MINUTES")
@pytest.mark.timeout(60 * MINUTES + 900)
def test_what_an_open_page_takes_of_its_browser(browser, cluster):
    with loaded(cluster.endpoints) as puts, looking(browser, address(cluster)) as page:
        tools = page.context.new_cdp_session(page)
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})

        def measures():
            found = tools.send("Performance.getMetrics")["metrics"]
            return {each["name"]: each["value"] for each in found}

        page.evaluate(
            "window.seenFrames = 0; (function f() { seenFrames++; requestAnimationFrame(f) })()"
        )
        ends = time.monotonic() + 60 * MINUTES
        while time.monotonic() < ends:
            began, before = time.monotonic(), (page.evaluate("seenFrames"), measures(), puts())
            page.wait_for_timeout(min(20_000, 60_000 * MINUTES))
            frames = page.evaluate("seenFrames") - before[0]
            took_s, busy_s = time.monotonic() - began, measures()["TaskDuration"]
            busy_s -= before[1]["TaskDuration"]
            tools.send("HeapProfiler.collectGarbage")
            heap = measures()["JSHeapUsedSize"] / 1e6
            print(
                f"{frames / took_s:.0f} frames/s of {1000 * busy_s / frames:.2f} ms work, "
                f"{heap:.1f} MB of objects, {(puts() - before[2]) / took_s:.0f} puts/s"
            )
        assert heap < 60
