"""When a waiter goes home although there may be work left, and when it starts nothing for a while. Pure decisions."""

from __future__ import annotations

from waiter.delivery.host_metrics import free_memory, host_load
from waiter.delivery.listener import KITCHEN_LOST
from waiter.delivery.options import DeliveryOptions

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
    """Why a waiter with nothing in hand goes home now, on its own clock; empty: it stays."""
    if options.max_orders is not None and claimed >= options.max_orders:
        return "max orders"
    if options.max_time_s is not None and now - began_at >= options.max_time_s:
        return "max time"
    if options.idle_timeout_s is not None and now - idle_since >= options.idle_timeout_s:
        return "idle"
    if away_since is not None and now - away_since >= GIVE_UP_S:
        return KITCHEN_LOST
    return ""


def is_host_busy(options: DeliveryOptions) -> bool:
    """The host has more load, or less memory, than new starts may find."""
    if options.max_load is not None and host_load() > options.max_load:
        return True
    return options.min_memory is not None and free_memory() < options.min_memory
