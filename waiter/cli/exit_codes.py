"""How a verb ends, whoever called it: with an exit code, and with one line about what it could not do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import click

from waiter.cli import stdio
from waiter.cli.log_lines import PLAIN, is_json, log_as, log_line
from waiter.errors import ExitCode, WaiterError
from waiter.report.formatting import escape_control


def exit_code(call: Callable[[], object], is_json_wanted: Callable[[], bool]) -> int:
    """What the call ends with. An error is told on stderr, or as a JSON object on stdout."""
    stdio.own_stdout()
    log_as(PLAIN)  # until a verb says otherwise
    try:
        code = call()
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except WaiterError as error:
        return _complain(str(error), is_json_wanted(), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _complain(_in_words(error), is_json_wanted(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except stdio.StdoutClosed:  # `waiter extract | head`
        stdio.give_up(sys.stdout)
        return 0
    except stdio.StdoutLost as error:
        stdio.give_up(sys.stdout)
        return _complain(f"stdout: cannot be written: {error.strerror}", False, 1)
    except OSError as error:  # whoever opens a file names it; this is for what nobody thought of
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return _complain(f"{where}{error.strerror or error}", is_json_wanted(), 1)
    return code if isinstance(code, int) else 0


def _in_words(error: click.ClickException) -> str:
    """What Click has to say, in one line, and one more with what to do or where to read on."""
    message = _unknown_option(error) if isinstance(error, click.NoSuchOption) else error.format_message()
    message, _, hint = message.partition("\nhint: ")
    message = " ".join(message.split()).replace(" is not a valid integer range", " is not a whole number")
    if hint:
        return f"{message}\nhint: {hint}"
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return message
    end = "" if message.endswith((".", "?")) else "."
    return f"{message}{end} See: {error.ctx.command_path} --help"


def _unknown_option(error: click.NoSuchOption) -> str:
    """The option, and the nearest one that there is; a short one may have been meant for the command."""
    from difflib import get_close_matches  # here, because nobody else needs it

    from waiter.cli.habits import CALLED_HERE

    command = error.ctx.command if error.ctx else None
    takes_command = command is not None and not command.context_settings.get("allow_interspersed_args", True)
    if takes_command and error.option_name in CALLED_HERE:
        return f"no such option {error.option_name}\nhint: {CALLED_HERE[error.option_name]}"
    is_long = error.option_name.startswith("--")
    near = get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=0.4 if is_long else 0.9)
    if near:
        return f"no such option {error.option_name}; did you mean {near[0]}?"
    if isinstance(command, click.Group):
        return f"no such option {error.option_name} before the verb. A verb's options stand behind it: run -j4"
    if not takes_command:
        return f"no such option {error.option_name}"
    return f"no such option {error.option_name}. A command that begins with a dash stands after --."


def _complain(message: str, is_json: bool, code: int) -> int:
    with suppress(OSError):  # nobody listens
        if is_json:
            print(json.dumps({"error": message}), flush=True)  # noqa: T201
        else:
            print(_last_line(message, code), file=sys.stderr)  # noqa: T201
    return code


def _last_line(message: str, code: int) -> str:
    """An error as every verb tells it, whatever stands before its other lines; or as JSON in a log of such."""
    if is_json():
        return log_line(message, "error", "error", {"exit_code": code})
    return escape_control(f"waiter: {message}")
