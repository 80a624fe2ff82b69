"""`python:module:function` in the place of a command: the function is imported, as Python finds it in the folder."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

from waiter.delivery.function_names import PREFIX, parted
from waiter.delivery.worker import settings_of
from waiter.delivery.worker_setup import home_of, reading
from waiter.errors import CommandUnstartable, UsageError


def with_site_packages() -> None:
    """Let functions import what is installed here, in a process that was started without it (python -S)."""
    if sys.flags.no_site:
        import site

        site.main()


def named_function(word: str, folder: str | None = None) -> Callable[..., object]:
    """The function of that name. Modules of `folder`, by default the current one, come first.

    Raises UsageError for what is no such name, CommandUnstartable where there is no such function.
    """
    module, name = parted(word)
    where = str(Path(folder or "").absolute())
    if where not in sys.path:
        sys.path.insert(0, where)
    thing: object = _imported(word, module, where)
    for part in name.split("."):
        if not hasattr(thing, part):
            known = [one for one, value in vars(thing).items() if callable(value) and not one.startswith("_")]
            alike = get_close_matches(part, known, n=1)
            hint = f"did you mean {PREFIX}{module}:{alike[0]}?" if alike else f"it has {', '.join(known[:8]) or 'none'}"
            raise CommandUnstartable(f"{word}: module {module} has no {name}\nhint: {hint}")
        thing = getattr(thing, part)
    if not callable(thing) or isinstance(thing, type):
        raise CommandUnstartable(f"{word}: not a function\nhint: name one that takes an order: def name(order)")
    return thing


def settings_of_named(word: str, folder: str | None = None) -> Mapping[str, object]:
    """What `@worker` says of the function."""
    return settings_of(named_function(word, folder))


def _imported(word: str, module: str, folder: str) -> ModuleType:
    main = sys.modules["__main__"]
    if home_of(main) == module:
        return main  # python -m module
    try:
        with reading():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise CommandUnstartable(
                f"{word}: there is no module {error.name} in {folder}, nor is one installed\n"
                "hint: go to the folder of the module, or give it as --cwd"
            ) from None
        raise CommandUnstartable(_words(word, error)) from error
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise CommandUnstartable(_words(word, error)) from error


def _words(word: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<frozen" not in frame.filename]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    first, _, _ = str(error).partition("\n")
    return f"{word}: its module cannot be imported: {type(error).__name__}: {first}{where}"
