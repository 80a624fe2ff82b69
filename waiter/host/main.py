"""The zipapp's command line: words in, one line of JSON out. Not for people; the laptop's `waiter fleet` speaks it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from waiter.errors import WaiterError
from waiter.host import REPLY_MARK, verbs
from waiter.host.state_dir import Home


def main(words: list[str] | None = None) -> int:
    """Do one verb. The exit code is 0 whenever there is a reply; `run` has the waiter's own."""
    asked = _parser().parse_args(words)
    try:
        home = Home()
        if asked.verb == "run":
            from waiter.host.daemon import run

            return run(home, tell_fd=asked.tell, is_patient=asked.patient, successor=asked.successor)
        reply = _reply(home, asked)
    except WaiterError as error:
        reply = {"outcome": "failed", "error": str(error), "error_type": type(error).__name__}
    except OSError as error:
        reply = {"outcome": "failed", "error": _words(error), "errno": error.errno}
    sys.stdout.write(f"\n{REPLY_MARK}{json.dumps(reply)}\n")
    return 0


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _reply(home: Home, asked: argparse.Namespace) -> dict[str, Any]:
    match asked.verb:
        case "start":
            return verbs.start(home, _sent())
        case "restart":
            return verbs.restart(home, _sent(), asked.grace)
        case "stop":
            return verbs.stop(home, grace_s=asked.grace, is_now=asked.now)
        case "push":
            return verbs.push(home, _sent())
        case "check":
            return verbs.check(home, _sent())
        case _:
            return verbs.status(home, lines=asked.lines)


def _sent() -> dict[str, Any]:
    """What came on stdin: it is read by nobody else, unlike argv."""
    sent: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    return sent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="waiter-host", description="A host's side of waiter fleet.")
    each = parser.add_subparsers(dest="verb", required=True)
    for verb in ("start", "push", "check"):
        each.add_parser(verb)
    for verb in ("restart", "stop"):
        each.add_parser(verb).add_argument("--grace", type=float, default=600.0, metavar="SECONDS")
    each.choices["stop"].add_argument("--now", action="store_true")
    each.add_parser("look").add_argument("--lines", type=int, default=5, metavar="N")
    daemon = each.add_parser("run")
    daemon.add_argument("--tell", type=int, metavar="FD")
    daemon.add_argument("--patient", action="store_true")
    daemon.add_argument("--successor", metavar="INTENT")
    return parser
