"""The run as one HTML file that loads nothing: what the pages show, without what only a server can do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from markupsafe import Markup

from waiter.kitchen.contract import Kitchen
from waiter.report.cost import NO_PRICES
from waiter.report.poller import Poller
from waiter.report.run_view import Aspect, RunPoller
from waiter.web.asking import find_failures
from waiter.web.rendering import render
from waiter.web.waiter_grid import ranked

GROUPS_SHOWN = 50
WAITERS_SHOWN = 500


def report_html(kitchen: Kitchen, batch: str | None = None, prices: Mapping[str, float] = NO_PRICES) -> str:
    """The run, or one batch of it, as it is now. Raises NoSuchBatch."""
    run = RunPoller(kitchen, Aspect(batch))
    whole = Poller(kitchen, 1.0, prices=prices).look()
    view, seen = run.view(whole.waiting), run.seen(whole)
    waiters = ranked(kitchen.shifts(include_left=True), seen.now)
    return render(
        "report.html",
        style=Markup(files("waiter.web").joinpath("static/style.css").read_text()),
        seen=seen,
        view=view,
        now=seen.now,
        found=find_failures(seen, GROUPS_SHOWN)(kitchen),
        most=GROUPS_SHOWN,
        waiters=waiters[:WAITERS_SHOWN],
        more_waiters=max(0, len(waiters) - WAITERS_SHOWN),
        batch=batch,
        name=view.name or batch,
        trouble=None,
        linked=False,
    )
