"""What Prometheus scrapes: the metrics, a real Prometheus that scrapes them, the alerts and the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.conftest import check_in, eventually, fill, let_leases_run_out, outcome, unavailable
from tests.mongod import free_port
from tests.serving import serving
from waiter.errors import KitchenError
from waiter.kitchen import open_kitchen
from waiter.orders import Reason, Selector, Status, Vitals
from waiter.report.totals import LATE_S, EndedTotals, MonitoringPoller, answer_s

SHIPPED = Path(__file__).parents[2] / "docs" / "monitoring"
TOKEN = "a-token-of-the-scraper"
PROMETHEUS = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: waiter
    authorization: {{credentials_file: token}}
    static_configs: [{{targets: ["{}"]}}]
"""


def promtool(*words: str, input: str | None = None) -> None:
    if shutil.which("promtool") is None:
        unavailable("no promtool: install Debian's prometheus")
    checked = subprocess.run(["promtool", *words], input=input, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout + checked.stderr


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes the target; yields its address."""
    if shutil.which("prometheus") is None:
        unavailable("no prometheus: install Debian's")
    (folder / "token").write_text(TOKEN)
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(target))
    server, address = started(folder)
    try:
        yield address
    finally:
        server.kill()
        server.wait(60)


def started(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A Prometheus that listens: it takes no free port by itself, and another program may be faster with ours."""
    for _ in range(5):
        address = f"127.0.0.1:{free_port()}"
        words = ["prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}"]
        with (folder / "prometheus.log").open("w") as log:
            server = subprocess.Popen([*words, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log)
        while server.poll() is None:
            if asked(address, "vector(1)"):
                return server, address
            time.sleep(0.05)
    raise RuntimeError((folder / "prometheus.log").read_text())


def asked(address: str, query: str) -> list[float]:
    """The values that Prometheus has for the query; none while it starts."""
    try:
        with urlopen(f"http://{address}/api/v1/query?{urlencode({'query': query})}", timeout=60) as answer:
            return [float(one["value"][1]) for one in json.load(answer)["data"]["result"]]
    except URLError:
        return []


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_prometheus_scrapes_what_a_server_counts(kitchen, kitchen_url, home, tmp_path):
    fill(kitchen, [[str(n)] for n in range(5)], batch='a"b\n\u202e')
    (tmp_path / "token.txt").write_text(TOKEN)

    with serving(kitchen_url, home, "--token-file", "token.txt", "--read-only", cwd=tmp_path) as site:
        with prometheus(tmp_path, site.address) as address:
            assert eventually(lambda: asked(address, "waiter_kitchen_up") == [1.0], within_s=60)
            shift = check_in(kitchen)
            one, two, three, _ = kitchen.claim(shift, limit=4)
            kitchen.finish(shift, [outcome(one), outcome(two), outcome(three, Status.ERROR, reason=Reason.EXIT)])
            assert eventually(lambda: asked(address, "waiter_orders_finished_total") == [3.0], within_s=60)
            assert eventually(lambda: asked(address, 'sum(waiter_orders{status="RUNNING"})') == [1.0], within_s=60)
            assert asked(address, "waiter_orders_failed_total") == [1.0]
            assert asked(address, 'waiter_order_duration_seconds_bucket{le="1.0"}') == [3.0]
            assert asked(address, 'sum(waiter_waiters{state!="lost"})') == [1.0]
        bearer = {"Cookie": "", "Authorization": f"Bearer {TOKEN}"}
        _, plain, text = site.ask("/metrics", **bearer)
        _, open_metrics, modern = site.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0", **bearer)
        refused = site.ask("/metrics", Cookie="")[0]

    promtool("check", "metrics", input=text)
    assert 'waiter_orders{batch="a\\"b \\\\u202e",status="DONE"} 2.0' in text
    assert "openmetrics-text" in open_metrics["Content-Type"]
    assert "text/plain" in plain["Content-Type"]
    known = {sample.name for family in text_string_to_metric_families(modern) for sample in family.samples}
    assert refused == 401
    for file in ("alerts.yml", "grafana.json"):
        assert set(re.findall(r"\bwaiter_\w+", (SHIPPED / file).read_text())) - known == set(), file


def test_the_alerts_fire_when_they_should_and_only_then():
    promtool("check", "rules", str(SHIPPED / "alerts.yml"))
    promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yml")))


def test_the_answer_that_is_timed_comes_from_the_kitchen(tmp_path):
    file = tmp_path / "orders.sqlite"
    with open_kitchen(str(file)) as kitchen:
        assert answer_s(kitchen) < 60
        file.unlink()
        with pytest.raises(KitchenError):
            answer_s(kitchen)


def test_totals_never_fall_and_miss_nothing_that_comes_late(kitchen, clock):
    fill(kitchen, [[str(n)] for n in range(4)])
    shift = check_in(kitchen)
    before, late, bad, again = kitchen.claim(shift, limit=4)
    kitchen.finish(shift, [outcome(before)])
    totals = EndedTotals()
    totals.look(kitchen)
    seen = [(sum(totals.counts), totals.failed)]

    def look() -> None:
        totals.look(kitchen)
        seen.append((sum(totals.counts), totals.failed))

    stopped = kitchen.now() - LATE_S + 60
    kitchen.finish(
        shift, [outcome(late, start=stopped - 1, stop=stopped), outcome(bad, Status.ERROR, reason=Reason.EXIT)]
    )
    look()
    kitchen.reset(Selector(statuses=(Status.ERROR, Status.DONE)))
    look()
    kitchen.finish(shift, [outcome(again, start=kitchen.now(), stop=kitchen.now() + 1)])
    look()
    clock.advance(10 * LATE_S)
    look()

    assert seen == [(0, 0), (2, 1), (2, 1), (3, 1), (3, 1)]


def test_totals_go_on_where_the_clock_was_set_back(kitchen, clock):
    fill(kitchen, [[str(n)] for n in range(3)])
    shift, totals = check_in(kitchen), EndedTotals()
    totals.look(kitchen)
    for back_s in (0, 3 * 3600):
        clock.advance(-back_s)
        totals.look(kitchen)
        kitchen.heartbeat(shift, Vitals())
        (order,) = kitchen.claim(shift, limit=1)
        now = kitchen.now()
        kitchen.finish(shift, [outcome(order, start=now - 1, stop=now)])
        totals.look(kitchen)

    assert sum(totals.counts) == 2


def test_each_lost_waiter_is_counted_once(kitchen, clock):
    check_in(kitchen, "a")
    poller = MonitoringPoller(every_s=0)
    assert (poller.look(kitchen).waiters, poller.lost) == ({"alive": 1}, 0)

    clock.advance(kitchen.lease_s + 1)  # as if the kitchen had been away
    assert eventually(lambda: poller.look(kitchen).waiters in ({"lost": 1}, {"late": 1}))
    assert poller.lost == 0, "it may still say that it lives"
    let_leases_run_out(kitchen, clock)
    kitchen.reclaim()

    assert eventually(lambda: poller.look(kitchen).waiters == {"lost": 1})
    assert eventually(lambda: check_in(kitchen, "b") and poller.look(kitchen).waiters.get("alive"))
    assert poller.lost == 1
    later = MonitoringPoller()
    assert (later.look(kitchen).waiters["lost"], later.lost) == (1, 0), "it was lost before"
