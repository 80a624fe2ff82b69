"""When a waiter leaves although there may be work left, and when it starts nothing for a while. Pure decisions."""

from __future__ import annotations

from waiter.delivery.host_metrics import free_memory, host_load
from waiter.delivery.listener import KITCHEN_LOST
from waiter.delivery.options import DeliveryOptions
from waiter.needs import memory_words

GIVE_UP_S = 600.0
"""How long a waiter with nothing to run waits for a kitchen that went away."""


def stop_reason(
    options: DeliveryOptions,
    claimed: int,
    began_at: float,
    idle_since: float,
    away_since: float | None,
    now: float,
) -> str:
    """Why a waiter with nothing in hand leaves now, on its own clock; empty: it stays."""
    if options.max_orders is not None and claimed >= options.max_orders:
        return "max orders"
    if options.max_time_s is not None and now - began_at >= options.max_time_s:
        return "max time"
    if options.idle_timeout_s is not None and now - idle_since >= options.idle_timeout_s:
        return "idle"
    if away_since is not None and now - away_since >= GIVE_UP_S:
        return KITCHEN_LOST
    return ""


def why_nothing_starts(options: DeliveryOptions, *, is_paused: bool) -> str | None:
    """Why nothing may start now: a pause, or more load or less memory than new starts may find. None: it may."""
    if is_paused:
        return "waiter resume: it is paused"
    if options.max_load is not None and (load := host_load()) > options.max_load:
        return f"a load below {options.max_load:g}; it is {load:.1f}"
    if options.min_memory is not None and (free := free_memory()) < options.min_memory:
        return f"{memory_words(options.min_memory)} of memory; {memory_words(free)} available"
    return None
