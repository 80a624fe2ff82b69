"""A function that is delivered beside commands: a process calls it for each order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from waiter.delivery.executors import CommandExecutor
from waiter.delivery.function_names import once_words
from waiter.delivery.named_functions import named_function
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.runner.client import Job
from waiter.delivery.worker_process import order_facts
from waiter.orders import Order


class OneByOne(CommandExecutor):
    """The function as a command."""

    def __init__(self, words: Sequence[str], options: DeliveryOptions, *, slots: int, name: str) -> None:
        named_function(words[0], options.cwd)  # it is there
        command = once_words(words[0], options.cwd)
        super().__init__(command, replace(options, literal=True), slots=slots, name=name)

    def job(self, order: Order) -> Job:
        return replace(super().job(order), stdin=order_facts(order))
