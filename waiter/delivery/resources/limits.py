"""How much memory an order may have, and what it may have when it is tried again. Pure."""

from __future__ import annotations

from dataclasses import replace

from waiter.delivery.options import DeliveryOptions
from waiter.errors import UsageError
from waiter.needs import Needs, parse_size

NEEDS = "needs"
"""The value of --mem-limit that stands for what the order needs."""


def check_limits(options: DeliveryOptions) -> None:
    """Raise UsageError for limits that say nothing."""
    if options.mem_limit is not None and options.mem_limit != NEEDS:
        parse_size(options.mem_limit)
    if options.retry_mem is not None and options.retry_mem <= 1:
        raise UsageError(f"--retry-mem {options.retry_mem:g}: tries again with no more memory\nhint: write 2x")
    if options.retry_mem is not None and options.mem_limit is None:
        raise UsageError("--retry-mem: nothing limits memory\nhint: add --mem-limit 4G, or --mem-limit needs")


def grown(needs: Needs, failures: int, options: DeliveryOptions, host_memory: int) -> Needs:
    """What the order needs on its next try: with --retry-mem each failure gives it more, as far as the host has it."""
    if options.retry_mem is None or not failures or needs.memory is None:
        return needs
    return replace(needs, memory=_grown(needs.memory, failures, options.retry_mem, host_memory))


def memory_limit(needs: Needs, failures: int, options: DeliveryOptions, host_memory: int) -> int | None:
    """The most bytes that the order's processes may have together; None: as many as they like."""
    if options.mem_limit is None:
        return None
    first = needs.memory if options.mem_limit == NEEDS else parse_size(options.mem_limit)
    if first is None or options.retry_mem is None:
        return first
    return _grown(first, failures, options.retry_mem, host_memory)


def _grown(first: int, failures: int, by: float, host_memory: int) -> int:
    return int(min(max(first, host_memory), first * by ** min(failures, 60)))
