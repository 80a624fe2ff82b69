"""`waiter run pipeline.toml`: three stages of a thousand rows, what goes wrong in them, and how it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import eventually

ROWS = 1000
STAGES = """\
[[stage]]
name = "report"
after-row = "align"
shell = true
jobs = 2
command = "test $(($1 % 100)) -ne FAULT30 && echo {1} {align.twice} >> report.txt"

[[stage]]
name = "prepare"
input = "rows.txt"
shell = true
jobs = 2
command = "test $(($1 % 100)) -ne FAULT10"

[[stage]]
name = "align"
after-row = "prepare"
shell = true
jobs = 2
command = '''test $(($1 % 100)) -ne FAULT20 && echo '{"twice": "'$(($1 * 2))'"}' > "$WAITER_RESULT"'''
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.txt").write_text("".join(f"{row}\n" for row in range(1, ROWS + 1)))
    write(tmp_path, STAGES.replace("FAULT", ""))
    return tmp_path


def write(folder: Path, stages: str) -> None:
    (folder / "pipeline.toml").write_text(stages)


def reported(folder: Path) -> list[str]:
    file = folder / "report.txt"
    return file.read_text().splitlines() if file.exists() else []


def counts(waiter_cli, words: list[str]) -> dict[str, dict[str, int]]:
    told = json.loads(waiter_cli("batches", "--json", *words).stdout)["batches"]
    return {one["name"]: {word: n for word, n in one["counts"].items() if n} for one in told}


@pytest.mark.parametrize("kitchen_url", ["sqlite", "mongodb"], indirect=True)
def test_a_thousand_rows_go_through_three_stages_interrupted_and_mended(folder, kitchen_url, waiter_cli, begin, home):
    is_shared = kitchen_url.startswith("mongodb")
    words = ["-k", kitchen_url] if is_shared else []
    began = subprocess.Popen(
        [sys.executable, "-m", "waiter", "run", *words, "pipeline.toml"],
        cwd=folder, env=home, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(lambda: len(reported(folder)) > 50)
        began.send_signal(signal.SIGINT)
        said = began.communicate(timeout=60)[1]
    finally:
        began.kill()
    assert began.returncode == 130, said
    assert said.count("Draining: ") == 1
    assert "orders left; the same command goes on." in said
    kitchen = words or ["-k", str(next(Path(home["HOME"]).glob(".local/share/waiter/runs/*.sqlite")))]
    assert not any("RUNNING" in of for of in counts(waiter_cli, kitchen).values())

    helper = begin("deliver", "-j2", "--brake", "0", "--until", "stopped") if is_shared else None
    failed = waiter_cli("run", *words, "pipeline.toml", timeout_s=180)

    assert failed.returncode == 1, failed.stderr
    assert "Going on where it was: " in failed.stderr
    assert "  prepare: 990 DONE, 10 ERROR\n" in failed.stderr
    assert "  align: 10 WAITING, 980 DONE, 10 ERROR; waits row by row for batch prepare: 10 ERROR\n" in failed.stderr
    assert "  report: 20 WAITING, 970 DONE, 10 ERROR; waits row by row for batch align: 10 left, 10 ERROR\n" in (
        failed.stderr
    )
    if helper is not None:
        helper.send_signal(signal.SIGTERM)
        assert int(helper.communicate(timeout=60)[0].rsplit(" orders delivered", 1)[0].split()[-1].replace(",", "")) > 0
    write(folder, STAGES.replace("FAULT", "1"))

    done = waiter_cli("run", *words, "pipeline.toml", timeout_s=180)

    assert done.returncode == 0, done.stderr
    assert "of 3,000 orders were delivered before, 30 that failed are tried again." in done.stderr
    assert counts(waiter_cli, kitchen) == {name: {"DONE": ROWS} for name in ("prepare", "align", "report")}
    # Each row once: an interruption lets end what runs.
    assert Counter(reported(folder)) == Counter(f"{row} {2 * row}" for row in range(1, ROWS + 1))


SMALL = """\
[[stage]]
name = "measure"
input = "samples.csv"
header = true
shell = true
jobs = 2
command = 'if test {sample} = s1; then sleep 0.5; fi; echo measured {sample}; echo 7 > "$WAITER_RESULT"'

[[stage]]
name = "draw"
input = "titles.txt"
after-row = "measure"
command = "test {1} {measure.sample} {measure.result}"

[[stage]]
name = "sum"
input = "titles.txt"
after-row = "draw"
command = "python:own:both"
"""
OWN = """
from waiter import worker

@worker(many=10)
def both(orders):
    return [print(order.arguments[0], dict(order.earlier)["measure.size"]) for order in orders]
"""


OF_FUNCTION = ["python:own:both one", "python:own:both two"]


def test_a_pipeline_is_shown_before_it_runs_keeps_the_order_of_rows_and_tells_of_its_end(tmp_path, waiter_cli):
    (tmp_path / "samples.csv").write_text("sample,size\ns1,2\ns2,30\n")
    (tmp_path / "titles.txt").write_text("one\ntwo\n")
    (tmp_path / "own.py").write_text(OWN)
    write(tmp_path, SMALL)

    shown = waiter_cli("run", "--dry-run", "pipeline.toml")

    assert shown.returncode == 0, shown.stderr
    expected = ["test one s1 '{measure.result}'", "test two s2 '{measure.result}'", *OF_FUNCTION]
    assert shown.stdout.splitlines()[2:] == expected
    assert "Stage measure:\n2 orders. Nothing was run.\nStage draw:\n2 orders. Nothing was run.\n" in shown.stderr
    assert not list(tmp_path.rglob("runs/*.sqlite")), "nothing was loaded"

    write(tmp_path, SMALL.replace('"test {1}', '"echo {1}'))
    done = waiter_cli("run", "--keep-order", "--notify", 'echo "$WAITER_TEXT"', "pipeline.toml")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if "measured" in line] == ["measured s1", "measured s2"]
    assert sorted(line for line in lines if "7" in line) == ["one s1 7", "two s2 7"]
    assert sorted(line for line in lines if line in ("one 2", "two 30")) == ["one 2", "two 30"]
    assert lines[-1] == "6 DONE."
    again = waiter_cli("run", "pipeline.toml")
    assert "Nothing to do: all 6 orders were delivered before.\nhint: " in again.stderr
    assert "waiter run --again pipeline.toml" in again.stderr


RESET = """\
[[stage]]
name = "first"
input = "rows.txt"
idle-timeout = "0.3"
command = "sh -c 'echo first $1 >> said; test $1 != 2 || test -e failed || { touch failed; exit 1; }' sh"

[[stage]]
name = "meanwhile"
input = "rows.txt"
command = "sh -c 'until test -e go; do sleep 0.05; done; echo meanwhile $1 >> said' sh"

[[stage]]
name = "second"
after = "first"
command = "sh -c 'echo second $1 >> said' sh"
"""


def test_what_is_reset_from_outside_while_a_pipeline_runs_is_done_again_and_the_next_stage_follows(
    tmp_path, waiter_cli, begin, kitchen_url
):
    (tmp_path / "rows.txt").write_text("1\n2\n")
    write(tmp_path, RESET)
    running = begin("run", "pipeline.toml")
    said = tmp_path / "said"
    eventually(lambda: said.exists() and said.read_text() == "first 1\nfirst 2\n")
    eventually(lambda: counts(waiter_cli, ["-k", kitchen_url])["first"].get("ERROR"))

    # Nobody but the pipeline's own waiter is there to do it, and it has been idle for longer than its limit.
    reset = waiter_cli("reset", "-k", kitchen_url, "--yes", "--batch", "first", "--status", "ERROR")
    assert reset.returncode == 0
    eventually(lambda: "second 2" in said.read_text(), 30)
    (tmp_path / "go").touch()

    assert running.wait(30) == 1, "one attempt failed in this run"
    assert said.read_text().splitlines() == [
        "first 1", "first 2", "first 2", "second 1", "second 2", "meanwhile 1", "meanwhile 2",
    ]  # fmt: skip
    assert counts(waiter_cli, ["-k", kitchen_url]) == {n: {"DONE": 2} for n in ("first", "meanwhile", "second")}
