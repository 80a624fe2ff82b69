"""The original's README, step by step, on both kitchens: what it showed in 2014 works today."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import eventually

CRUNCH = '#!/bin/sh\n\necho "Crunching on: $*"\n[ -n "$FAST" ] || sleep 3\necho "done!"\n'


def script(folder: Path, text: str = CRUNCH, name: str = "crunch.sh") -> str:
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return f"./{name}"


def counts(waiter_cli, url):
    return json.loads(waiter_cli("status", "--kitchen", url, "--json").stdout)["counts"]


def test_the_originals_readme(waiter_cli, kitchen_url, tmp_path):
    def waiter(*arguments, **env):
        done = waiter_cli(*arguments, "--kitchen", kitchen_url, **env)
        assert done.returncode == 0, done.stderr
        return done

    names = sorted(os.listdir("/dev"))[:9]
    (tmp_path / "orders.csv").write_text("".join(f"{name}\n" for name in names))

    waiter("clean")
    assert "Loaded 9 orders" in waiter("load", "orders.csv").stderr
    assert "READY" in waiter("status").stdout

    delivered = waiter_cli(
        "deliver", "--kitchen", kitchen_url, script(tmp_path), "--some-param", "some-value", FAST="1"
    )
    assert delivered.returncode == 0, delivered.stderr
    expected = "".join(f"Crunching on: --some-param some-value {name}\ndone!\n" for name in names)
    assert delivered.stdout == expected

    rows = list(csv.DictReader(io.StringIO(waiter("extract").stdout)))
    assert list(rows[0]) == ["_id", "status", "waiter", "start", "stop", "arguments", "error"]
    assert [json.loads(row["arguments"]) for row in rows] == [[name] for name in names]
    assert {row["status"] for row in rows} == {"DONE"}
    assert all(re.fullmatch(r"[^/]+/\d+", row["waiter"]) for row in rows)
    assert all(row["start"] <= row["stop"] for row in rows)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["stop"])


def test_a_waiter_that_was_killed_leaves_an_order_that_reset_gives_back(waiter_cli, kitchen_url, tmp_path, home):
    (tmp_path / "orders.csv").write_text("one\ntwo\n")
    waiter_cli("load", "-k", kitchen_url, "orders.csv")
    arguments = [
        sys.executable,
        "-m",
        "waiter",
        "deliver",
        "-k",
        kitchen_url,
        script(tmp_path, "#!/bin/sh\nsleep 60\n"),
    ]
    victim = subprocess.Popen(arguments, cwd=tmp_path, env=home, stderr=subprocess.DEVNULL)
    eventually(lambda: counts(waiter_cli, kitchen_url)["RUNNING"] == 1)
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    (dead,) = json.loads(waiter_cli("waiters", "--json", "-k", kitchen_url).stdout)["waiters"]
    status = waiter_cli("status", "-k", kitchen_url)
    reset = waiter_cli("reset", "--yes", "-k", kitchen_url)

    assert dead["state"] == "lost"
    assert "1 waiter at work" not in status.stdout + status.stderr
    assert reset.returncode == 0, reset.stderr
    assert "Reclaimed 1 order of waiters that are gone." in reset.stderr
    assert counts(waiter_cli, kitchen_url)["RUNNING"] == 0


def test_several_waiters_share_the_orders(waiter_cli, kitchen_url, tmp_path, home):
    (tmp_path / "orders.csv").write_text("".join(f"{n}\n" for n in range(40)))
    waiter_cli("load", "-k", kitchen_url, "orders.csv")
    command = script(tmp_path, "#!/bin/sh\necho $1 >> seen\nsleep 0.05\n")
    arguments = [sys.executable, "-m", "waiter", "deliver", "-k", kitchen_url, "-j2", command]
    waiters = [subprocess.Popen(arguments, cwd=tmp_path, env=home, stderr=subprocess.DEVNULL) for _ in range(3)]

    assert [waiter.wait(60) for waiter in waiters] == [0, 0, 0]

    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == list(range(40))


def test_a_shell_never_sees_the_arguments(waiter_cli, kitchen_url, tmp_path):
    evil = "$(touch hacked) `touch hacked` ; touch hacked"
    (tmp_path / "orders.txt").write_text(f"{evil}\n-rf\na b\n")
    waiter_cli("load", "-k", kitchen_url, "orders.txt")

    done = waiter_cli("deliver", "-k", kitchen_url, "printf", "<%s>\n")

    assert done.stdout == f"<{evil}>\n<-rf>\n<a b>\n"
    assert not (tmp_path / "hacked").exists()


def test_the_name_and_the_extracts_file_can_be_chosen(waiter_cli, kitchen_url, tmp_path):
    (tmp_path / "orders.txt").write_text("x\n")
    waiter_cli("load", "-k", kitchen_url, "orders.txt")
    waiter_cli("deliver", "-k", kitchen_url, "-n", "Alice", "true")

    waiter_cli("extract", "-k", kitchen_url, "-o", "out.csv", "--columns", "waiter,exit_code")

    assert (tmp_path / "out.csv").read_text() == "waiter,exit_code\nAlice,0\n"
