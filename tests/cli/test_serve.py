"""The page in a browser: a real `waiter serve`, asked over HTTP."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import check_in, eventually, fill, outcome
from tests.serving import serving
from waiter import open_kitchen
from waiter.orders import Reason, Selector, Status, Vitals
from waiter.report.dashboard import frame
from waiter.report.poller import Poller

HOSTILE = "<script>alert(1)</script>\u202eevil"


def test_what_failed_is_seen_and_done_again(kitchen, kitchen_url, home):
    fill(kitchen, [[HOSTILE], ["fine"], ["tried again"], ["later"]])
    shift = check_in(kitchen, "a<b>")
    bad, fine, again = kitchen.claim(shift, limit=3)
    group = "3f9c2a1b"
    facts = {"exit_code": 3, "reason": Reason.EXIT, "error": f"no {HOSTILE}", "error_group": group, "tail": HOSTILE}
    kitchen.finish(
        shift, [outcome(bad, Status.ERROR, **facts), outcome(fine), outcome(again, Status.READY, delay_s=999, **facts)]
    )

    with serving(kitchen_url, home) as site:
        looks = site.looks()
        assert any('status=ERROR">ERROR</a> <b>1</b>' in part for part in looks), "no failure is shown"
        pages = {path: site.ask(path) for path in ("/", "/failures", "/waiters", "/orders", f"/orders/{bad.id}")}
        form = re.search('name="form" value="(.*?)"', pages["/failures"][2])[1]
        asked, _, question = site.ask("/do/reset", method="POST", body={"form": form, "group": group})
        assert (asked, "Yes, do 1 order again" in question) == (200, True)
        assert kitchen.counts()[Status.ERROR] == 1
        fields = dict(re.findall('name="(.*?)" value="(.*?)"', question))
        back, there, _ = site.ask("/do/reset", method="POST", body={**fields, "back": "//evil.example/"})
        assert (back, there["Location"]) == (303, "/evil.example/")
        assert any('status=ERROR">ERROR</a> <b>0</b>' in part for part in looks), "the page did not change"
        site.ask("/do/pause", method="POST", body={"form": form})
        assert eventually(lambda: all(one.is_paused for one in kitchen.shifts()))
        _, _, ready = site.ask("/orders?status=READY&match=script&sort=-age")
        refused, _, why = site.ask("/orders?since=soon")

    assert kitchen.counts(Selector(statuses=(Status.READY,))).total == 3
    for path, (status, headers, text) in pages.items():
        assert (path, status) == (path, 200)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "a<b>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202eevil" in pages[f"/orders/{bad.id}"][2]
    assert "33.3 %" not in pages["/"][2]
    assert "50.0 %" in pages["/"][2]
    assert f'href="/orders/{bad.id}"' in ready
    assert f'href="/orders/{fine.id}"' not in ready
    assert (refused, "not a duration" in why) == (400, True)


def test_where_something_fails_what_still_waits_of_its_batch_is_cancelled(kitchen, kitchen_url, home):
    fill(kitchen, [[str(n)] for n in range(5)])
    fill(kitchen, [["another"]], batch="c")
    shift = check_in(kitchen)
    bad, again = kitchen.claim(shift, limit=2)
    facts = {"exit_code": 3, "reason": Reason.EXIT, "error": "no such tile", "error_group": "3f9c2a1b"}
    kitchen.finish(shift, [outcome(bad, Status.ERROR, **facts), outcome(again, Status.READY, delay_s=999, **facts)])
    (running,) = kitchen.claim(shift, limit=1)

    with serving(kitchen_url, home) as site:
        button = site.ask("/failures")[2].partition('action="/do/cancel"')[2].partition("</form>")[0]
        fields = dict(re.findall('name="(.*?)" value="(.*?)"', button))
        _, _, question = site.ask("/do/cancel", method="POST", body=fields)
        assert kitchen.counts()[Status.CANCELLED] == 0
        one, whole, _ = (dict(re.findall('name="(.*?)" value="(.*?)"', part)) for part in question.split("</form>"))
        site.ask("/do/cancel", method="POST", body=one)
        of_kind = {order.id for order in kitchen.find(Selector(statuses=(Status.CANCELLED,)))}
        site.ask("/do/cancel", method="POST", body=whole)
        _, _, nothing = site.ask("/do/cancel", method="POST", body=fields)

    assert "Cancel the 1 order that failed so" in question
    assert "3 orders of batch b are still to be run. Those that run go on." in question
    assert of_kind == {again.id}
    by_status = {order.id: order.status for order in kitchen.find(Selector())}
    assert (by_status[bad.id], by_status[running.id], by_status["c-1"]) == (Status.ERROR, Status.RUNNING, Status.READY)
    assert kitchen.counts()[Status.CANCELLED] == 3
    assert "no order waits any more" in nothing


def test_the_page_of_an_order_that_waits_says_for_what(kitchen, kitchen_url, home):
    fill(kitchen, [["first"]])
    fill(kitchen, [["second"]], batch="c")
    kitchen.amend_batch("c", after=["b"])

    with serving(kitchen_url, home) as site:
        first, second = (site.ask(f"/orders/{batch}-1")[2] for batch in "bc")

    assert ("s-WAITING" in first, "s-READY" in first) == (False, True)
    assert ("s-WAITING" in second, "s-READY" in second) == (True, False)
    assert "c waits for batch b: 1 left" in second


def test_a_group_that_somebody_has_done_again_is_not_asked_about(tmp_path, home):
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"]])

    with serving(str(tmp_path / "orders.sqlite"), {**home, "TZ": "Asia/Kolkata"}) as site:
        page = site.ask("/orders/b-1")[2]
        form = re.search('name="form" value="(.*?)"', page)[1]
        asked = site.ask("/do/reset", method="POST", body={"form": form, "group": "3f9c2a1b"})[2]

    assert "No order is failed so any more" in asked
    assert "<button>" not in asked
    assert "times in IST" in page  # whoever looks may live elsewhere


def test_a_link_shows_what_it_says_or_says_why_not(tmp_path, home):
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"], ["b"]])

    with serving(str(tmp_path / "orders.sqlite"), home) as site:
        refused = {
            path: site.ask(path)[::2]
            for path in ("/?bacth=b", "/failures?x=1", "/waiters?x=1", "/orders?host=a&host=b", "/?batch=a&batch=b")
        }
        status, headers, _ = site.ask("/orders?status=READY&token=of-another-day")
        page = site.ask("/orders?id=b-1&id=b-2&status=READY&status=DONE&limit=7")[2]

    assert {status for status, _ in refused.values()} == {400}
    assert "unknown in the address: bacth" in refused["/?bacth=b"][1]
    assert "more than once in the address: host" in refused["/orders?host=a&host=b"][1]
    # The token of a server that is gone is no reason to refuse who has the cookie of this one.
    assert (status, headers["Location"], headers["Set-Cookie"]) == (303, "/orders?status=READY", None)
    # What else is chosen stays so when somebody presses Show.
    assert re.findall('name="(id|limit)" value="(.+?)"', page) == [("id", "b-1"), ("id", "b-2"), ("limit", "7")]
    assert re.findall("<option selected>(.+?)<", page) == ["READY", "DONE"]
    assert 'name="status" multiple' in page


def test_of_an_order_of_megabytes_as_much_is_shown_as_somebody_reads(tmp_path, home):
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["x" * 1_000_000], ["z"] * 2000])
        kitchen.check_in("w", "h", 1, Vitals(command="./crunch.sh", command_hash="abc"))

    with serving(str(tmp_path / "orders.sqlite"), home) as site:
        long, many = (site.ask(f"/orders/b-{row}")[2] for row in (1, 2))

    assert max(len(long), len(many)) < 30_000
    assert "… and 995,000 characters more" in long
    assert "<p>A line of 1,000,012 characters: <code>waiter show b-1</code>" in long
    assert "<p>1,900 arguments more: <code>waiter show b-2</code>" in many


def test_only_who_has_the_token_is_let_in_and_another_site_changes_nothing(tmp_path, home, waiter_cli):
    where = str(tmp_path / "orders.sqlite")
    waiter_cli("-k", where, "load", "-", input="a\n")

    with serving(where, home) as site:
        _, headers, _ = site.ask(f"/orders?status=READY&token={site.token}", Cookie="")
        _, _, page = site.ask("/waiters")
        form = {"form": re.search('name="form" value="(.*?)"', page)[1]}
        change = {"method": "POST", "body": form}
        answers = {
            "no token": site.ask("/", Cookie="")[0],
            "wrong token": site.ask("/?token=wrong", Cookie="")[0],
            "foreign host": site.ask("/", Host="evil.example")[0],
            "foreign origin": site.ask("/do/pause", **change, Origin="http://evil.example")[0],
            "form without its token": site.ask("/do/pause", method="POST", body={})[0],
            "unknown action": site.ask("/do/format", **change)[0],
            "way out": site.ask("/static/../server.py")[0],
            "encoded way out": site.ask("/static/%2e%2e/server.py")[0],
            "large form": site.ask("/do/pause", method="POST", body={"form": "x" * 100_000})[0],
            "no such order": site.ask("/orders/none")[0],
        }

    with serving(where, home, "--read-only") as site:
        answers["read only"] = site.ask("/do/pause", **change)[0]
        assert "<button>Pause" not in site.ask("/waiters")[2]

    assert headers["Location"] == "/orders?status=READY"
    assert "HttpOnly" in headers["Set-Cookie"]
    assert answers == {
        "no token": 401,
        "wrong token": 401,
        "foreign host": 421,
        "foreign origin": 403,
        "form without its token": 403,
        "unknown action": 404,
        "way out": 404,
        "encoded way out": 404,
        "large form": 413,
        "no such order": 404,
        "read only": 403,
    }


def test_a_kitchen_that_goes_away_is_missed_and_comes_back_by_itself(tmp_path, home, waiter_cli):
    where = tmp_path / "orders.sqlite"
    waiter_cli("-k", str(where), "load", "-", input="a\n")

    with serving(str(where), home) as site:
        looks = site.looks()
        assert any('status=READY">READY</a> <b>1</b>' in part for part in looks), "the order is not shown"
        where.rename(tmp_path / "away.sqlite")
        assert any('role="alert"' in part for part in looks), "nothing is said of the kitchen"
        status, _, said = site.ask("/orders")
        (tmp_path / "away.sqlite").rename(where)
        assert any('role="alert"' not in part for part in looks), "it did not come back"
        again, _, orders = site.ask("/orders")

    assert (status, again) == (503, 200)
    assert "orders.sqlite" in said
    assert "READY" in orders


BROWSER = """#!{python}
import contextlib, pathlib, sys, time, urllib.error, urllib.request
def asked(url):
    try:
        return urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url, timeout=60).status
    except urllib.error.HTTPError as refused:
        return refused.code
seen = f"{{sys.argv[1]}} {{asked(sys.argv[1])}} {{asked(sys.argv[1])}}"
pathlib.Path("part.txt").write_text(seen)
pathlib.Path("part.txt").rename("seen.txt")
with contextlib.suppress(urllib.error.URLError):
    while asked(sys.argv[1]):
        time.sleep(0.1)
"""
"""A browser that opens the address twice, and stays in front as long as the server is there."""


def test_the_browser_that_is_opened_is_let_in_once_while_it_stays_in_front(tmp_path, home):
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"]])
    (tmp_path / "browser").write_text(BROWSER.format(python=sys.executable))
    (tmp_path / "browser").chmod(0o755)
    env = {**home, "BROWSER": str(tmp_path / "browser")}

    with serving(str(tmp_path / "orders.sqlite"), env, "--open", cwd=tmp_path) as site:
        url, first, second = eventually(lambda: (tmp_path / "seen.txt").exists() and read(tmp_path / "seen.txt"))

    # Everybody on a machine can read the command lines of others: the token is none of them.
    assert site.token not in url
    assert (first, second) == ("200", "401")


def test_who_has_no_browser_is_told_to_open_the_page(tmp_path, home):
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"]])
    env = {name: value for name, value in home.items() if name not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")}
    told = "Ctrl-C ends it.\nNo browser was found: open the address yourself.\n"

    with serving(str(tmp_path / "orders.sqlite"), {**env, "PATH": str(tmp_path)}, "--open", expected=told) as site:
        assert site.ask("/")[0] == 200


def test_where_nobody_works_each_view_says_so(kitchen, kitchen_url, home, ask):
    fill(kitchen, [["a"]])

    def drawn() -> str:
        return "\n".join("".join(text for text, _ in line) for line in frame(Poller(kitchen, 1.0).look(), 80, 24))

    with serving(kitchen_url, home) as site:
        assert eventually(lambda: "<p>No waiter is at work.</p>" in site.ask("/waiters")[2])
        views = [ask("waiters").stderr, drawn()]
        check_in(kitchen)
        assert eventually(lambda: "host-of-a" in site.ask("/waiters")[2])
        page, later = site.ask("/waiters")[2], [ask("waiters").stdout, drawn()]

    assert "No waiter is at work. Start one: waiter deliver CMD…" in views[0]
    assert "No waiter is at work." in views[1]
    assert not any("o waiter is at work" in view for view in (page, *later))


def read(file: Path) -> list[str]:
    return file.read_text().split()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "0.0.0.0:0"], "hint: give --token-file"),
        (["--listen", "here"], "no HOST:PORT"),
        (["--token-file", "short.txt"], "16 letters"),
        (["--token-file", "bytes.txt"], "16 letters"),
    ],
)
def test_what_would_be_open_to_all_is_refused_in_a_line(options, said, tmp_path, waiter_cli):
    (tmp_path / "short.txt").write_text("secret\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff" * 40)
    waiter_cli("-k", "orders.sqlite", "load", "-", input="a\n")

    refused = waiter_cli("-k", "orders.sqlite", "serve", *options)

    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_plain_install_says_what_brings_the_page(tmp_path, waiter_cli):
    (tmp_path / "starlette.py").write_text('raise ModuleNotFoundError("No module", name="starlette")\n')

    refused = waiter_cli("-k", "orders.sqlite", "serve", PYTHONPATH=str(tmp_path))

    assert refused.returncode == 2
    assert refused.stderr.endswith("hint: pip install 'simple-waiter[web]'\n")
