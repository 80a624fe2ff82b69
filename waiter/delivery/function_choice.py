"""Which executor a Python function gets: threads, one event loop, or worker processes."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from waiter.delivery.function_names import PREFIX, parted
from waiter.delivery.function_processes import ProcessExecutor
from waiter.delivery.functions import FunctionExecutor, is_coroutine_function
from waiter.delivery.named_functions import named_function
from waiter.delivery.options import DeliveryOptions, Processes
from waiter.delivery.worker import unwrapped
from waiter.delivery.worker_setup import home_of, named_setup, pickled_setup
from waiter.errors import UsageError
from waiter.hashing import blake2b


def function_executor(
    function: Callable[..., object], options: DeliveryOptions, *, slots: int
) -> FunctionExecutor | ProcessExecutor:
    """What calls the function as the options say. Raises UsageError for one that cannot be sent to a process."""
    title = getattr(function, "__qualname__", repr(function))
    words = (f"{PREFIX}{home_of(function)}:{title}",)
    if options.processes in (Processes.AUTO, Processes.NO):
        return _in_threads(function, options, slots, words)
    return _in_processes(pickled_setup(function, is_many=options.many is not None), function, options, slots, words)


def named_executor(words: Sequence[str], options: DeliveryOptions, *, slots: int) -> FunctionExecutor | ProcessExecutor:
    """The same for `python:module:function`, in processes unless somebody says otherwise, or it is an `async def`.

    Raises UsageError and CommandUnstartable.
    """
    word, *rest = words
    if rest:
        raise UsageError(f"{word}: a function takes orders, and no words behind it: {' '.join(rest)}")
    function = named_function(word, options.cwd)
    if options.processes is Processes.AUTO:
        is_async = is_coroutine_function(unwrapped(function))
        options = replace(options, processes=Processes.NO if is_async else Processes.SPAWN)
    if options.processes is Processes.NO:
        return _in_threads(function, options, slots, (word,))
    module, name = parted(word)
    setup = named_setup(module, name, is_many=options.many is not None)
    return _in_processes(setup, function, options, slots, (word,))


def _in_threads(
    function: Callable[..., object], options: DeliveryOptions, slots: int, words: tuple[str, ...]
) -> FunctionExecutor:
    if options.mem_limit is not None:
        raise UsageError(
            "--mem-limit needs a process to limit, and this function is called in threads\n"
            "hint: --processes=spawn, or in Python processes=True"
        )
    return FunctionExecutor(function, slots=slots, version=_version(function), words=words, many=options.many)


def _in_processes(
    setup: str, function: Callable[..., object], options: DeliveryOptions, slots: int, words: tuple[str, ...]
) -> ProcessExecutor:
    name = options.name or f"{socket.gethostname()}/{os.getpid()}"
    return ProcessExecutor(setup, options, processes=slots, name=name, version=_version(function), words=words)


def _version(function: Callable[..., object]) -> str:
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = repr(getattr(function, "__code__", function))
    return blake2b(source.encode(), digest_size=6).hexdigest()
