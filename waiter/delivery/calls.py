"""A call of the user's function: what it returns or raises, as the end of an order."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import asdict, is_dataclass
from math import isfinite

from waiter.delivery import worker
from waiter.light_dataclass import dataclass
from waiter.limits import RESULT_BYTES, TAIL_BYTES
from waiter.orders import Order

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")

_OURS = (__file__, worker.__file__)

Deliver = Callable[[Order], object]
"""Delivers one order. What it returns is the order's result, see `result_text`; whatever it raises makes it fail, but
for the SystemExit of a program that ends well."""

DeliverMany = Callable[[list[Order]], object]
"""Delivers several orders in one call. It returns a list with the result of each, where an exception makes that order
fail; or None if there are no results. Whatever it raises makes all of them fail."""


@dataclass(frozen=True, slots=True)
class Call:
    """How a call of the user's function ended."""

    exit_code: int = 0
    result: str | None = None
    message: str | None = None
    tail: bytes = b""
    cut_from: int | None = None  # bytes of the result, if that was more than is kept
    is_spent: bool = False  # the process that it ran in has no more memory, or was told to end


def called(deliver: Deliver, order: Order) -> Call:
    """Call it. Nothing gets out of here: a thread that ended with it would leave its order RUNNING for good."""
    try:
        return _of_result(result_text(_awaited(deliver(order))))
    except BaseException as error:  # noqa: BLE001 - whatever a user's function raises is this order's failure
        return _of_raised(error)


async def called_async(deliver: Deliver, order: Order) -> Call:
    """Call an `async def`. Only a cancelled call ends otherwise: it raises CancelledError."""
    try:
        return _of_result(result_text(await _begun(deliver(order))))
    except BaseException as error:  # noqa: BLE001 - as above
        return _of_raised(_not_cancelled(error))


def called_many(deliver: DeliverMany, orders: Sequence[Order]) -> list[Call]:
    """Call it with all of them. What it raises is the end of each."""
    try:
        return list(map(_of_one, _one_each(_awaited(deliver(list(orders))), len(orders))))
    except BaseException as error:  # noqa: BLE001 - as above
        return [_of_raised(error)] * len(orders)


async def called_many_async(deliver: DeliverMany, orders: Sequence[Order]) -> list[Call]:
    """The same for an `async def`."""
    try:
        return list(map(_of_one, _one_each(await _begun(deliver(list(orders))), len(orders))))
    except BaseException as error:  # noqa: BLE001 - as above
        return [_of_raised(_not_cancelled(error))] * len(orders)


def _begun(returned: object) -> Awaitable[object]:
    if not isinstance(returned, Awaitable):
        raise TypeError(f"an async def was to return something to await, and not {returned!r:.60}")
    return returned


def _not_cancelled(error: BaseException) -> BaseException:
    """The error, unless the task that asks was told to end: then that is raised."""
    import asyncio  # heavy, and here already

    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    return error


def _one_each(returned: object, count: int) -> Sequence[object]:
    if returned is None:
        return [None] * count
    if not isinstance(returned, list | tuple) or len(returned) != count:
        given = f"{len(returned)}" if isinstance(returned, list | tuple) else repr(returned)[:60]
        raise TypeError(f"a list of {count} results was to be returned, one for each order, and not {given}")
    return returned


def _of_one(item: object) -> Call:
    return _of_raised(item) if isinstance(item, BaseException) else _of_result(result_text(item))


def _of_raised(error: BaseException) -> Call:
    if isinstance(error, SystemExit):
        return _of_exit(error)
    is_spent = isinstance(error, MemoryError) or not isinstance(error, Exception)
    return Call(1, message=_storable(_words(error)), tail=_traceback(error), is_spent=is_spent)


def _storable(text: str | None) -> str | None:
    """The text without surrogates that stand for no byte: no kitchen, file or environment takes them."""
    return text if text is None else _NO_BYTES.sub("\ufffd", text)


def _of_result(text: str | None) -> Call:
    whole = b"" if text is None else text.encode("utf-8", "surrogatepass")
    if len(whole) <= RESULT_BYTES:
        return Call(result=_storable(text))
    return Call(result=_storable(whole[:RESULT_BYTES].decode("utf-8", "ignore")), cut_from=len(whole))


def _of_exit(end: SystemExit) -> Call:
    """What a program would end with that raised it: 0 without a word, 1 with a text, the text on stderr."""
    if end.code is None or isinstance(end.code, int):
        code = end.code or 0
        return Call(code & 0xFF, message=f"exit code {code}" if code else None, is_spent=True)
    return Call(1, message=_storable(str(end.code)), tail=_traceback(end), is_spent=True)


def _words(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        return f"{kind}: {error}".removesuffix(": ")
    except Exception:  # noqa: BLE001 - a user's class may not know how to be a text
        return kind


def _traceback(error: BaseException) -> bytes:
    frames = error.__traceback__
    while frames and frames.tb_next and frames.tb_frame.f_code.co_filename in _OURS:
        frames = frames.tb_next  # what the user has written begins further down
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception:  # noqa: BLE001 - as above
        lines = traceback.format_tb(frames)
    return "".join(lines).encode("utf-8", "replace")[-TAIL_BYTES:]


def _awaited(returned: object) -> object:
    """What was returned, or what comes of it in the end. Raises TypeError for a generator, of which nothing has run."""
    if isinstance(returned, Generator | AsyncGenerator):
        raise TypeError("a generator was returned: nothing of it has run. Return a value, and do not yield")
    if not isinstance(returned, Awaitable):
        return returned
    import asyncio  # heavy, and most functions are none of its kind

    async def wait() -> object:
        return await returned

    return asyncio.run(wait())


def result_text(value: object) -> str | None:
    """A result as text: texts as they are, bytes as UTF-8, everything else as JSON; None is no result.

    `Order.value` reads it back. Within lists and dictionaries NaN, which JSON does not have, is null, and what no JSON
    can hold is what `str` makes of it.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        return _json(value)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, something that holds itself, a bare NaN
        return str(value)


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        if not isinstance(value, dict | list | tuple):
            raise
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    """Something that JSON does not know, as what it knows: data classes, NumPy's numbers and arrays; else its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else str(value)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
