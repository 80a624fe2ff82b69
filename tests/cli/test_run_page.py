"""The run as a page: charts of it, one batch alone, several side by side."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest

from tests.conftest import check_in, eventually, fill, outcome
from tests.serving import Site, serving
from waiter.kitchen.timeline import Step, Timeline
from waiter.machines import Call, Ledger, Machine, Market
from waiter.orders import Reason, Selector, Status, Vitals
from waiter.report.dashboard import pace
from waiter.report.poller import Poller
from waiter.report.run_view import BATCHES_SHOWN, Aspect, RunPoller, within_slots
from waiter.report.status import status_facts
from waiter.web.charts import charts, written_at
from waiter.web.rendering import render
from waiter.web.waiter_grid import grid

HOSTILE = "<b>night</b>\u202e"


def work(kitchen) -> None:
    """Two batches, one of them with a name that is markup; of one something failed."""
    for batch in ("a", "b"):
        fill(kitchen, [[str(n)] for n in range(10)], batch=batch)
    kitchen.amend_batch("a", name=HOSTILE)
    shift = check_in(kitchen)
    now = kitchen.now()
    for at, order in enumerate(kitchen.claim(shift, limit=15)):
        facts = {"start": now - 200 + at, "stop": now - 140 + at, "peak_memory": 50_000_000}
        if order.batch == "b" and at % 2:
            facts |= {"exit_code": 3, "reason": Reason.EXIT, "error": "no such tile", "error_group": "3f9c2a1b"}
            kitchen.finish(shift, [outcome(order, Status.ERROR, **facts)])
        else:
            kitchen.finish(shift, [outcome(order, **facts)])


class Labels(HTMLParser):
    """The pictures of a page, by what they say to who cannot see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "svg":
            assert dict(attrs)["role"] == "img"
            self.found.append(dict(attrs)["aria-label"] or "")

    def one(self, beginning: str) -> str:
        (label,) = [label for label in self.found if label.startswith(beginning)]
        return label


def shown(site: Site, path: str, words: str) -> str:
    """The page, once it has these words: on a busy machine the first look at the kitchen may take its time."""
    return eventually(lambda: page if words in (page := site.ask(path)[2]) else "")


def test_the_run_is_drawn_whole_and_batch_by_batch(kitchen, kitchen_url, home):
    work(kitchen)

    machine = Machine("i-1", "m7a.large", Market.SPOT, kitchen.now() - 3600, price=0.5)
    call = Call("0" * 32, kitchen.now() - 3600, "ann@laptop", 1, Market.SPOT, {}, machines=(machine,))
    Ledger(kitchen, "crunch").intend(call)

    with serving(kitchen_url, home) as site:
        paths = {batch: f"/?batch={batch}" if batch else "/" for batch in ("", "a", "b")}
        pages = {batch: shown(site, path, "Finished per minute") for batch, path in paths.items()}
        status, _, none = site.ask("/?batch=none")
        hour, minute = (shown(site, f"/?batch=a&last={last}", 'class="share"') for last in ("1h", "1m"))
        refused = [site.ask(f"/?last={last}")[0] for last in ("soon", "0", "9" * 400)]

    labels = {batch: Labels(page) for batch, page in pages.items()}
    assert labels[""].one("Finished per minute: 13 delivered and 2 failed")
    assert labels[""].one("Slots busy: ")
    assert "15 orders; 1 min 00 s on average" in labels[""].one("How long")
    assert labels[""].one("How much memory orders take: 15 orders; the most: 47.7 MiB")
    assert sorted(label for label in labels[""].found if label.startswith("Finished over time")) == [
        "Finished over time: 10 delivered, 0 failed",
        "Finished over time: 3 delivered, 2 failed",
    ]
    assert "cost of crunch: $0.50 so far" in pages[""]
    assert labels["a"].one("Orders by status: 10 DONE")
    assert labels["b"].one("Orders by status: 5 READY, 3 DONE, 2 ERROR")
    assert labels["b"].one("Finished per minute: 3 delivered and 2 failed")
    assert "<h1>Batch &lt;b&gt;night&lt;/b&gt;\\u202e</h1>" in pages["a"]
    assert "no such tile" in pages["b"]
    assert "no such tile" not in pages["a"]
    assert re.search(r"&lt;b&gt;night&lt;/b&gt;\\u202e", pages[""])
    assert not any(HOSTILE in page or "style=" in page for page in pages.values())
    assert (status, "no such batch: none" in none) == (400, True)
    assert Labels(hour).one("Finished per minute: 10 delivered")
    assert '?batch=a&amp;last=1h" aria-current="true">the last hour' in hour
    assert not [label for label in Labels(minute).found if label.startswith("Finished per minute")]
    assert refused == [400, 400, 400]


def test_what_fleets_cost_is_the_same_on_the_page_in_status_and_in_a_report(kitchen, kitchen_url, home, ask, tmp_path):
    (tmp_path / "waiter.toml").write_text('[prices]\n"m7a.large" = 0.12\n"spot.c7a.large" = 0.5\n')
    work(kitchen)
    now = kitchen.now()
    for name, kinds in (("crunch", ("m7a.large", "c7a.large")), ("tiles", ("m7a.large",)), ("gpus", ("p5.large",))):
        machines = [
            Machine(
                f"i-{kind}",
                kind,
                Market.SPOT,
                now - 9000,
                price=None if kind == "m7a.large" else 0.7,
                ended_at=now - 1800,
            )
            for kind in kinds
        ]
        unpriced = [replace(one, price=None) if one.kind == "p5.large" else one for one in machines]
        call = Call("0" * 32, now - 9000, "ann@laptop", 1, Market.SPOT, {}, machines=tuple(unpriced))
        Ledger(kitchen, name).intend(call)

    with serving(kitchen_url, home, cwd=tmp_path) as site:
        page = shown(site, "/", 'class="cost"')
        alone = shown(site, "/?batch=a", "10 DONE")
        api = json.loads(site.ask("/api/status")[2])
    status, words = ask.json("status"), ask("status").stderr
    report, of_a = (ask("report", "--html", "-", *of).stdout for of in ((), ("--batch", "a")))

    expected = {"crunch": 2 * (0.12 + 0.5), "tiles": 2 * 0.12, "gpus": None}
    for facts in (status["cost"], api["cost"]):
        assert {one["fleet"]: one["so_far"] for one in facts} == pytest.approx(expected, nan_ok=True)
    for text in (page, report):
        lines = re.findall('class="cost">(.*?)</p>', text)
        assert [line.partition(",")[0] for line in lines] == [
            "cost of crunch: $1.24 so far",
            "cost of tiles: $0.24 so far",
        ]
    assert re.findall(r"Cost of (\w+: \S+) so far", words) == ["crunch: $1.24", "tiles: $0.24"]
    # A batch alone has no cost of its own: nobody says which machine worked for it.
    assert 'class="cost"' not in alone + of_a
    assert "cost" not in ask.json("status", "--batch", "a")


def test_of_many_batches_those_that_run_come_first(kitchen):
    for number in range(BATCHES_SHOWN + 2):
        fill(kitchen, [["a"], ["b"]], batch=f"b{number}")
    kitchen.claim(check_in(kitchen), limit=1)

    view = RunPoller(kitchen).view()

    assert view.batches[0].counts[Status.RUNNING] == 1
    assert view.more_batches == 2
    assert "2 batches more" in render("charts_part.html", view=view, now=view.line.until, linked=True)


def test_orders_that_wait_are_drawn_as_such_in_the_bar_of_their_batch(kitchen, kitchen_url, home):
    for batch in "abc":
        fill(kitchen, [["1"], ["2"], ["3"]], batch=batch)
    kitchen.amend_batch("b", after=["a"])

    with serving(kitchen_url, home) as site:
        page = shown(site, "/", 'class="bar small"')

    rows = page.partition('<table class="batches">')[2].split('<a href="/?batch=')[1:]
    bars = {row[0]: row.partition('class="bar small"')[2] for row in rows}
    labels = {id: bar.partition('aria-label="')[2].partition('"')[0] for id, bar in bars.items()}
    assert labels == {batch: f"Orders by status: 3 {'WAITING' if batch == 'b' else 'READY'}" for batch in "abc"}
    assert {id for id, bar in bars.items() if "s-WAITING" in bar} == {"b"}


def luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return sum(
        share * (c / 12.92 if c < 0.04 else ((c + 0.055) / 1.055) ** 2.4)
        for share, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True)
    )


def test_what_waits_is_told_from_what_is_ready_without_colours():
    style = files("waiter.web").joinpath("static/style.css").read_text()
    schemes = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in style.split("@media screen")[:2]]

    for scheme in schemes:  # the second one is dark; print is as the first one
        ready, waiting = sorted((luminance(scheme[word]) + 0.05 for word in ("READY", "WAITING")), reverse=True)
        edge = luminance(scheme["edge-of-WAITING"]) + 0.05
        inside = luminance(scheme["WAITING"]) + 0.05
        assert ready / waiting > 1.6
        assert max(edge, inside) / min(edge, inside) > 2.5
    assert "print-color-adjust: exact" in style


def test_a_batch_is_as_fast_as_its_own_orders_were(kitchen, clock):
    """Nothing is left but the second one, whose orders take ten times as long as those of the first did."""
    fill(kitchen, [[str(n)] for n in range(40)], batch="first")
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=40)])
    fill(kitchen, [[str(n)] for n in range(60)], batch="second")
    clock.advance(100)
    kitchen.heartbeat(shift, Vitals(slots=4))
    slow = kitchen.claim(shift, limit=25)
    clock.advance(50)
    kitchen.heartbeat(shift, Vitals(slots=4))
    kitchen.finish(shift, [outcome(order, stop=order.start + 10) for order in slow])

    whole, poller = Poller(kitchen, 1.0).look(), RunPoller(kitchen, Aspect("second"))
    lately = poller.seen(whole)
    of_status = status_facts(kitchen, "second", None)
    clock.advance(1000)
    kitchen.heartbeat(shift, Vitals(slots=4))
    poller.forget()
    later = poller.seen(Poller(kitchen, 1.0).look())

    assert whole.longer.done == 65
    assert (lately.longer.done, lately.longer.mean_s) == (25, pytest.approx(10))
    assert lately.longer.window_s == pytest.approx(50, abs=10)
    assert lately.eta is not None
    assert lately.eta.soonest_s > 35 * 10 / 4 / 2  # what is left, by four slots
    assert of_status["rate"] == pytest.approx(25 / 50, rel=0.2)
    assert of_status["eta"] == pytest.approx([lately.eta.soonest_s, lately.eta.latest_s], rel=0.2)
    assert (later.longer.done, later.longer.window_s) == (25, pytest.approx(1050, abs=10))
    assert " now, " not in pace(later)


def test_the_charts_of_another_day_have_its_date():
    ended = 20_000 * 86_400.0
    line = Timeline(ended - 120, 60.0, ended, (Step(100, 20, 1.0, (1.0, 2.0, 3.0), 2.0), Step()), durations={0: 120})

    today, tomorrow = (charts(line, written_at(line, ended + hours * 3600))[0] for hours in (1, 20))

    (day,) = {time.strftime("%m-%d", time.localtime(at)) for at in (ended - 120, ended - 60)}
    assert not any(mark.startswith(day) for mark in today.marks)
    assert all(mark.startswith(day) for mark in tomorrow.marks[:2])
    assert tomorrow.bars[0].words.startswith(day)
    assert written_at(line, ended + 10) == written_at(line, ended + 20) == ended


def test_what_was_estimated_says_so_and_what_never_was_is_no_chart():
    line = Timeline(0.0, 60.0, 120.0, (Step(100, 20, 1.0, (1.0, 2.0, 3.0), 2.0), Step()), 1 / 40, durations={0: 120})

    finished, slots, durations = charts(line, 120.0)

    assert "one in 40" in finished.note
    assert "one in 40" in slots.note
    assert [part.css for part in finished.bars[0].parts] == ["s-DONE", "s-ERROR"]
    assert sum(part.height for part in finished.bars[0].parts) == 75  # 120 a minute, on an axis up to 160
    bars = charts(replace(line, steps=line.steps * 17), 120.0)[0].bars
    assert all(round(one.x + one.width, 2) == other.x for one, other in pairwise(bars))
    assert len(finished.rows) == 1
    assert "2 slots busy" in slots.bars[0].words
    assert durations.marks == ("1 s", "10 s")
    assert charts(replace(line, steps=(Step(), Step())), 120.0) == []


def test_no_more_slots_are_drawn_busy_than_there_are():
    line = Timeline(0.0, 5.0, 31.0, tuple(Step(busy=busy) for busy in (50, 20, 24, 24, 30, 40, 40)))

    assert [step.busy for step in within_slots(line, 24).steps] == [50, 20, 24, 24, 24, 24, 24]


def test_a_report_is_one_file_that_loads_nothing(kitchen, kitchen_url, home, waiter_cli, tmp_path):
    work(kitchen)

    whole = waiter_cli("-k", kitchen_url, "report", "--html", "run.html")
    told = waiter_cli(
        "-k", kitchen_url, "notify", "--batch", "a", "--report", "a.html", "sh", "-c", 'echo "$WAITER_REPORT"; cat'
    )

    assert (whole.returncode, whole.stderr) == (0, "Wrote run.html.\n")
    path, facts = told.stdout.splitlines()
    assert path == json.loads(facts)["report"] == str(tmp_path / "a.html")
    text, of_a = ((tmp_path / name).read_text() for name in ("run.html", "a.html"))
    assert Labels(text).one("Finished per minute: 13 delivered and 2 failed")
    assert Labels(of_a).one("Finished per minute: 10 delivered and 0 failed")
    assert "no such tile" in text
    assert "host-of-a" in text
    assert not re.search("<(a|link|img|form)[ >]|<script|(src|href|action)=|url\\(|@import", text)
    assert HOSTILE not in text


def test_a_run_writes_its_report_at_the_end_and_tells_its_path_and_link(waiter_cli, tmp_path):
    link = "https://crunch.example/run.html"
    words = ["--report", "run.html", "--link", link, "--notify", 'echo "$WAITER_REPORT" "$WAITER_LINK"; cat']

    ran = waiter_cli("run", *words, "sh", "-c", "exit 3", input="a\n")
    piped = waiter_cli("run", "--report", "alone.html", "true", input="a\n")
    refused = waiter_cli("wait", "--link", "nowhere", "--notify", "true")

    told, facts = ran.stdout.splitlines()
    assert told == f"{tmp_path / 'run.html'} {link}"
    assert {"report": str(tmp_path / "run.html"), "link": link}.items() <= json.loads(facts).items()
    assert json.loads(facts)["text"].endswith(f"1 ERROR. {link}")
    assert "exit code 3" in (tmp_path / "run.html").read_text()
    assert (piped.returncode, "1 of 1 order" in (tmp_path / "alone.html").read_text()) == (0, True)
    assert (refused.returncode, "--link: no address" in refused.stderr) == (2, True)


def test_a_report_that_cannot_be_written_is_said_in_a_line(kitchen, kitchen_url, waiter_cli, tmp_path):
    fill(kitchen, [])
    for words, said in (
        (["report", "--html", "none/run.html"], "hint: create its folder first"),
        (["report", "--html", "run.html", "--batch", "x"], "no such batch: x"),
        (["notify", "--report", "-", "true"], "name a file"),
    ):
        refused = waiter_cli("-k", kitchen_url, *words)
        assert refused.returncode
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    told = waiter_cli(
        "-k", kitchen_url, "notify", "--report", "none/run.html", "sh", "-c", 'echo "told $WAITER_REPORT"'
    )
    assert (told.returncode, told.stdout) == (0, "told \n")


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_of_many_waiters_those_that_need_a_look_come_first_and_the_others_have_a_row(kitchen, kitchen_url, home):
    shifts = [kitchen.check_in(f"w{n}", f"host-{n // 4}", os.getpid(), Vitals(slots=8, busy=n % 9)) for n in range(30)]
    fill(kitchen, [[str(n)] for n in range(5)])
    kitchen.claim(shifts[3], limit=5)
    kitchen.pause("w7")
    with serving(kitchen_url, home) as site:
        page = shown(site, "/waiters", ">w29</a>")

    seen = Poller(kitchen, 1.0).look()
    lost = [replace(shifts[0], token=f"{n}", waiter=f"lost{n}", lost_at=seen.now) for n in range(40)]
    many = grid(replace(seen, shifts=[*seen.shifts * 8, *lost]))
    assert [page.count(css) for css in ('class="slots-row"', 'class="cell')] == [30, 0]
    assert page.index(">w7</a> <small>paused") < page.index(">w0</a>")
    assert 'aria-label="5 of 8 slots busy"' in page
    closely = [one for host in many.hosts for one in host.waiters]
    assert (len(closely), {one.state for one in closely}) == (24, {"lost"})
    assert (len(many.rows), many.more) == (200 - 24, 80)


def test_a_host_counts_no_slots_of_waiters_that_are_lost(kitchen):
    for name in ("ada", "bob"):
        kitchen.check_in(name, "east", os.getpid(), Vitals(slots=4, busy=3, memory=50 << 20, load=1.5))
    seen = Poller(kitchen, 1.0).look()
    ada, bob = seen.shifts
    one_lost, all_lost = [replace(ada, lost_at=seen.now), bob], [replace(one, lost_at=seen.now) for one in seen.shifts]

    some, none = (
        render("waiters_part.html", seen=replace(seen, shifts=shifts, is_all_running=False), form=None, trouble=None)
        for shifts in (one_lost, all_lost)
    )

    assert "<small>3 of 4 slots busy; load 1.5, 50 MiB of memory</small>" in some
    assert "as old as each waiter's last heartbeat" in some.replace("&#39;", "'")
    assert "<small>no waiter at work</small>" in none


def test_waiters_stand_by_host_with_a_cell_for_each_slot(kitchen, kitchen_url, home):
    fill(kitchen, [[f"tile {n}"] for n in range(3)])
    vitals = Vitals(slots=4, busy=4, memory=50 << 20, load=1.5, command_hash="abc123", version="1.0")  # some time ago
    shift = kitchen.check_in("ada", "east", os.getpid(), vitals)
    kitchen.check_in("bob", "west", os.getpid(), Vitals(slots=80, command_hash="def456"))
    kitchen.pause("bob", "its disk is full")
    kitchen.claim(shift, limit=2)

    with serving(kitchen_url, home) as site:
        page = shown(site, "/waiters", "<h2>west")
        order = next(kitchen.find(Selector(statuses=(Status.RUNNING,))))
        kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, exit_code=1)])
        whole = site.ask(f"/orders/{order.id}")[2]

    west, east = page.index("<h2>west"), page.index("<h2>east")
    assert west < east  # who needs a look comes first
    assert "its disk is full" in page[west:east]
    assert (page[west:east].count("free</li>"), "and 16 slots more" in page[west:east]) == (64, True)
    assert "2 of 4 slots busy; load 1.5, 50 MiB of memory" in page[east:]
    assert "last heartbeat" not in page
    assert page[east:].count('<li class="cell runs"><a href="/orders/b-') == 2
    assert page[east:].count("busy</li>") == 0
    assert page[east:].count("free</li>") == 2
    assert "command abc123, Waiter 1.0" in page[east:]
    assert "2 versions of the command: " in page
    assert "attempt 1" in Labels(whole).one("Attempts over time")
