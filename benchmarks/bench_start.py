"""How soon the first command begins, and how soon the program ends after the last one, beside xargs and GNU parallel.

    python benchmarks/bench_start.py [--rounds 15] [--mongod PATH]

Four orders, one at a time. Each command writes down the moment at which it ran; what is before the first and after
the last is the start and the end. Every round runs all of them one after the other; the figures are medians of the
rounds. Goals, with exit code 1 if one is missed: on SQLite both together take 0.1 s at most, and 1.25 times what GNU
parallel's take. A peer that is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from bench_delivery import prepared
from own_mongod import add_mongod_option, server

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed Waiter is compiled; here the first round compiles it

ORDERS = 4
GOAL_S, GOAL_FACTOR = 0.1, 1.25
Taken = tuple[float, float]
"""Seconds until the first command, and after the last one."""


def measured(words: Sequence[str], log: Path, folder: Path) -> Taken:
    log.unlink(missing_ok=True)
    numbers = "".join(f"{number}\n" for number in range(ORDERS))
    began = time.time()
    subprocess.run(
        words, input=numbers, check=True, text=True, stderr=subprocess.PIPE, env={**os.environ, "HOME": str(folder)}
    )
    ended = time.time()
    moments = [int(line) / 1e9 for line in log.read_text().split()]
    if len(moments) != ORDERS:
        raise RuntimeError(f"{len(moments)} commands of {ORDERS} ran: {words}")
    return moments[0] - began, ended - moments[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15)
    add_mongod_option(parser)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, server(said.mongod) as (mongodb, _):
        folder = Path(name)
        log = folder / "log"
        command = ["sh", "-c", f"date +%s%N >> {log}"]
        kitchens = {"Waiter, SQLite": str(folder / "kitchen.sqlite"), "Waiter, MongoDB": f"{mongodb}/bench"}
        lines = {"xargs": ["xargs", "-P1", "-n1", *command]}
        if shutil.which("parallel"):
            lines["GNU parallel"] = ["parallel", "-q", "-j1", "--joblog", f"{folder}/jobs", *command]
        for who, url in kitchens.items():
            lines[who] = [sys.executable, "-m", "waiter", "deliver", "-k", url, "-j1", "--", *command]
        taken: dict[str, list[Taken]] = {who: [] for who in lines}
        for number in range(said.rounds + 1):
            for who, words in lines.items():
                if who in kitchens:
                    prepared(kitchens[who], ORDERS)
                seconds = measured(words, log, folder)
                if number:  # the first round reads from disk, and compiles
                    taken[who].append(seconds)
    return shown(taken)


def shown(taken: dict[str, list[Taken]]) -> int:
    """Print the table; 1 if a goal was missed."""
    together = {who: statistics.median(start + end for start, end in rounds) for who, rounds in taken.items()}
    for who, rounds in taken.items():
        start, end = (statistics.median(part) for part in zip(*rounds, strict=True))
        print(f"{who:<16} first command after {start * 1e3:5.1f} ms, end {end * 1e3:5.1f} ms after the last one")
    ours = together["Waiter, SQLite"]
    is_missed = ours > GOAL_S
    print(f"Waiter, SQLite, start and end: {ours:.3f} s (goal {GOAL_S})" + (" MISSED" if ours > GOAL_S else ""))
    if "GNU parallel" not in together:
        print("Waiter, SQLite / GNU parallel: not measured, GNU parallel is not installed")
        return int(is_missed)
    ratio = ours / together["GNU parallel"]
    print(
        f"Waiter, SQLite / GNU parallel: {ratio:.2f} (goal {GOAL_FACTOR})" + (" MISSED" if ratio > GOAL_FACTOR else "")
    )
    return int(is_missed or ratio > GOAL_FACTOR)


if __name__ == "__main__":
    sys.exit(main())
