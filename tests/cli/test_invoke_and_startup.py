"""`invoke` has the same verbs, and the command starts light."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from waiter.kitchen import open_kitchen

ROOT = Path(__file__).parents[2]


def invoke(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=ROOT,
        env=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_invoke_does_what_waiter_does(home, tmp_path, kitchen_url):
    (tmp_path / "orders.csv").write_text("a b\nc\n")
    where = f"--kitchen={kitchen_url}"

    assert "Loaded 2 orders" in invoke(home, "load", str(tmp_path / "orders.csv"), where).stderr
    delivered = invoke(home, "deliver", "printf '<%s>'", "-k", kitchen_url, "-j2")
    status = invoke(home, "status", "--json", where)
    extract = invoke(home, "extract", where, "--columns=status,arguments", "--format=jsonl")

    assert sorted(delivered.stdout.split(">")) == ["", "<a b", "<c"]
    assert json.loads(status.stdout)["counts"]["DONE"] == 2
    assert [json.loads(line)["arguments"] for line in extract.stdout.splitlines()] == [["a b"], ["c"]]
    assert invoke(home, "reset", "--yes", "--status=done", where).returncode == 0
    assert "Deleted 2 orders" in invoke(home, "clean", "--yes", where).stderr


def test_invoke_hands_on_what_stands_after_two_dashes_word_by_word(home, tmp_path):
    (tmp_path / "orders.csv").write_text("a b\n")
    where = f"--kitchen={tmp_path / 'k.sqlite'}"
    invoke(home, "load", str(tmp_path / "orders.csv"), where)

    delivered = invoke(home, "deliver", where, "--jobs=1", "--", "printf", "<%s>", "--some-param", "x  y")

    assert delivered.stdout == "<--some-param><x  y><a b>"
    tried = invoke(home, "pilot", where, "--", "true")
    assert "no order is READY" in tried.stderr


def test_invoke_serves_the_page_until_it_is_interrupted(home, tmp_path):
    kitchen = str(tmp_path / "k.sqlite")
    (tmp_path / "orders.csv").write_text("a b\n")
    invoke(home, "load", str(tmp_path / "orders.csv"), "-k", kitchen)
    words = [sys.executable, "-m", "invoke", "serve", "-k", kitchen, "--listen", "127.0.0.1:0", "--read-only"]

    with subprocess.Popen(words, cwd=ROOT, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        address = page.stdout.readline().strip()
        with build_opener(HTTPCookieProcessor()).open(address, timeout=60) as answer:
            shown = answer.read().decode()
        page.send_signal(signal.SIGINT)
        _, said = page.communicate(timeout=60)

    assert "<h1>Run</h1>" in shown
    assert (page.returncode, said) == (0, "Ctrl-C ends it.\n")


def test_invoke_ends_as_waiter_does(home, tmp_path):
    kitchen = str(tmp_path / "k.sqlite")
    (tmp_path / "many").write_text("row\n" * 20_000)
    invoke(home, "load", str(tmp_path / "many"), "-k", kitchen)

    piped = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{sys.executable} -m invoke extract -k {kitchen} | head -n 1"],
        cwd=ROOT,
        env=home,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (piped.returncode, piped.stdout[:11]) == (0, "_id,status,")
    assert (
        "no such batch" in json.loads(invoke(home, "status", "-k", kitchen, "--json", "--batch", "x").stdout)["error"]
    )
    assert "See: invoke load --help" in invoke(home, "load", "--format", "xml", "x").stderr


@pytest.mark.parametrize("line", ["invoke --list", "invoke --help status", "fab --list", "fab --help fleet.start"])
def test_a_listing_whose_reader_left_is_no_error(home, line):
    program, _, words = line.partition(" ")
    read, write = os.pipe()
    os.close(read)

    with open(write, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", {"invoke": "invoke", "fab": "fabric"}[program], *words.split()],
            cwd=ROOT,
            env=home,
            stdin=subprocess.DEVNULL,
            stdout=nobody,
            stderr=subprocess.PIPE,
            timeout=60,
        )

    assert (done.stderr, done.returncode) == (b"", -signal.SIGPIPE)


def test_invoke_complains_in_one_line(home):
    done = invoke(home, "load", "nothing.csv")

    assert done.returncode == 1
    assert "nothing.csv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"pymongo", "fabric", "boto3", "rich", "sqlite3"}),
        (["status"], {"pymongo", "fabric", "boto3", "rich"}),
    ],
)
def test_a_command_imports_only_what_it_needs(tmp_path, home, arguments, unwanted):
    program = (
        "import sys, contextlib\n"
        "from waiter.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=home, cwd=tmp_path, timeout=60
    )

    assert not unwanted & set(done.stderr.splitlines()[-1].split())


def test_a_command_ends_when_it_has_said_all(home, kitchen_url):
    open_kitchen(kitchen_url, create=True).close()

    def lingers_s():
        command = [sys.executable, "-m", "waiter", "status", "-k", kitchen_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=home) as process:
            assert any(line.startswith(b"total") for line in process.stdout)
            said_at = time.monotonic()
        return time.monotonic() - said_at

    assert min(lingers_s() for _ in range(3)) < 0.3
