"""What Prometheus scrapes: one look at the kitchen answers however many scrape at the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from waiter import __version__
from waiter.errors import KitchenError
from waiter.report.totals import BOUNDS, STATES, MonitoringPoller, Standing, answer_s
from waiter.web.viewing import KitchenThread

FRESH_S = 1.0
"""Who asks so soon after another gets the same answer."""

PATIENCE_S = 8.0
"""So long a scrape waits for the kitchen: Prometheus itself waits 10 s. Then it gets what was known before."""


class Metrics(Collector):
    """The metrics of one kitchen, gathered by who scrapes."""

    def __init__(self, kitchen: KitchenThread) -> None:
        self._kitchen = kitchen
        self._poller = MonitoringPoller()
        self._answer_s: float | None = None  # for a small question; None: the kitchen does not answer
        self._standing: Standing | None = None  # None: nothing is known yet
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -FRESH_S
        self._since = time.time()  # totals begin here: with the first look that succeeds
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def answer(self, request: Request) -> Response:
        """All metrics, as OpenMetrics for who accepts that."""
        if self._looking is None and time.monotonic() - self._looked_at >= FRESH_S:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=PATIENCE_S)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"Content-Type": kind})

    async def _look(self) -> None:
        self._answer_s = None  # whoever has no patience for the look is told of a kitchen that is away
        try:
            self._answer_s = await self._kitchen.ask(answer_s)
            first = time.time()
            standing = await self._kitchen.ask(self._poller.look)
            self._since = self._since if self._standing else first
            self._standing = standing
        except KitchenError:
            self._answer_s = None
        finally:
            self._looked_at, self._looking = time.monotonic(), None

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("waiter_build", "The version of Waiter that serves this.", {"version": __version__})
        yield _gauge("waiter_kitchen_up", "Whether the kitchen answers.", float(self._answer_s is not None))
        if self._answer_s is not None:
            words = "How long the kitchen took for a small question."
            yield _gauge("waiter_kitchen_answer_seconds", words, self._answer_s)
        if self._answer_s is not None and self._standing is not None:
            yield from _standing(self._standing)
        yield from self._totals()

    def _totals(self) -> Iterator[Metric]:
        ended, since = self._poller.ended, self._since
        count, failed, lost = sum(ended.counts), ended.failed, self._poller.lost
        for name, words, value in (
            ("waiter_orders_finished", "Orders that ended DONE or ERROR since this server looks.", count),
            ("waiter_orders_failed", "Orders that ended in ERROR since this server looks.", failed),
            ("waiter_waiters_lost", "Waiters that were lost since this server looks.", lost),
        ):
            yield CounterMetricFamily(name, words, value, created=since)
        took = HistogramMetricFamily("waiter_order_duration_seconds", "How long finished orders took.")
        sums = [(str(bound), sum(ended.counts[: n + 1])) for n, bound in enumerate(BOUNDS)]
        took.add_metric([], [*sums, ("+Inf", count)], ended.seconds)
        yield took


def _standing(now: Standing) -> Iterator[Metric]:
    orders = GaugeMetricFamily("waiter_orders", "Orders by status and name of their batch.", labels=("batch", "status"))
    for (batch, status), count in now.orders.items():
        orders.add_metric([batch, status], count)
    yield orders
    waiters = GaugeMetricFamily("waiter_waiters", "Waiters by state; lost ones for a day.", labels=("state",))
    for state in STATES:
        waiters.add_metric([state], now.waiters.get(state, 0))
    yield waiters
    yield _gauge("waiter_slots", "Slots of the waiters at work.", now.slots)
    yield _gauge("waiter_slots_busy", "Slots that run an order.", now.busy)
    yield _gauge("waiter_orders_claimed", "RUNNING orders that wait for a slot.", now.claimed)
    yield _gauge("waiter_oldest_running_seconds", "How long the oldest RUNNING order has been running.", now.oldest_s)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value)
