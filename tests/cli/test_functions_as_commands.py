"""`python:module:function` in the place of a command, and a module with `@worker` as a program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from waiter import DeliveryOptions, LoadOptions, Selector, UsageError, iter_orders, load_rows, open_kitchen, worker

MODULE = """
import asyncio, os, threading, waiter

@waiter.worker(slots=2, retries=1, backoff_s=0.01)
def second(order):
    if order.attempt == 1:
        raise ValueError("not yet")
    return {"attempt": order.attempt, "is_main": threading.current_thread() is threading.main_thread()}

@waiter.worker(many=10)
async def later(orders):
    await asyncio.sleep(0.01)
    return [os.getppid() for order in orders]

def plain(order):
    return os.environ["WAITER_SLOT"]

NOTHING = None

if __name__ == "__main__":
    waiter.main()
"""


@pytest.fixture
def ran(tmp_path, home):
    """Runs Python with these words in a folder with the module and an order, and returns how that ended."""
    (tmp_path / "crunch.py").write_text(MODULE)
    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        load_rows(kitchen, [["1"]], LoadOptions(batch="one"))

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**home, "WAITER_KITCHEN": str(tmp_path / "kitchen.sqlite")}
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )

    return ran


def value(folder):
    with open_kitchen(str(folder / "kitchen.sqlite")) as kitchen:
        (order,) = iter_orders(kitchen)
        return order.value if order.status == "DONE" else order.error


def test_a_function_is_delivered_with_its_settings_and_a_flag_comes_first(tmp_path, ran):
    (tmp_path / "waiter.toml").write_text("[deliver]\nretries = 0\n")

    failed = ran("-m", "waiter", "deliver", "--retries", "0", "python:crunch:second")
    assert (failed.returncode, value(tmp_path)) == (1, "ValueError: not yet")

    ran("-m", "waiter", "reset", "--yes")
    again = ran("-m", "waiter", "deliver", "python:crunch:second")
    assert (again.returncode, value(tmp_path)) == (0, {"attempt": 2, "is_main": True})  # of a process of its own


def test_a_module_is_a_program_with_the_options_of_deliver(tmp_path, ran):
    unsaid = ran("-m", "crunch")
    assert (unsaid.returncode, "one of second, later" in unsaid.stderr) == (1, True)

    assert ran("crunch.py", "second", "--processes", "no").returncode == 0
    assert value(tmp_path) == {"attempt": 2, "is_main": False}

    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        (batch,) = kitchen.batches()
    assert batch.command == ("python:crunch:second",)
    ran("-m", "waiter", "reset", "--yes", "--status", "DONE")
    assert ran("-m", "crunch", "later").returncode == 0
    assert isinstance(value(tmp_path), int)


def test_a_function_without_settings_will_do_and_a_dry_run_shows_it(tmp_path, ran):
    shown = ran("-m", "waiter", "deliver", "--dry-run", "python:crunch:plain")
    assert shown.stdout == "python:crunch:plain 1\n"

    assert ran("-m", "waiter", "deliver", "python:crunch:plain").returncode == 0
    assert value(tmp_path) == 1


def test_a_function_is_tried_with_one_order(tmp_path, ran):
    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        (order,) = iter_orders(kitchen)

    one, several = (ran("-m", "waiter", "try", order.id, f"python:crunch:{name}") for name in ("plain", "later"))

    assert f"{order.id}: exit code 0 after " in one.stderr
    assert "Result: 1\n" in one.stderr
    assert "exit code 0" in several.stderr
    assert value(tmp_path) is None
    refused = ran("-m", "waiter", "try", order.id, "python:crunch:plain", "x")
    assert (refused.returncode, "a function takes an order, and no words behind it: x" in refused.stderr) == (2, True)
    delivered = ran("-m", "waiter", "deliver", "python:crunch:plain")
    assert delivered.returncode == 0, delivered.stderr
    shown = ran("-m", "waiter", "show", order.id).stdout
    assert f"by hand:    waiter try {order.id} python:crunch:plain\n" in shown


def test_batches_that_are_for_functions_are_delivered_beside_those_of_commands(tmp_path, ran):
    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        kitchen.clean(Selector())
        load_rows(kitchen, [{"n": 2}], LoadOptions(command=("python:crunch:second",)))
        load_rows(kitchen, [["3"]], LoadOptions(command=("python:crunch:later",)))
        load_rows(kitchen, [["4"]], LoadOptions(command=("sh", "-c", 'echo $1 > "$WAITER_RESULT"', "sh")))

    ended = ran("-m", "waiter", "deliver", "--retries", "1", "--backoff", "0.01")

    assert ended.returncode == 0, ended.stderr
    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        first, second, third = (order.value for order in iter_orders(kitchen))
    assert (first, third) == ({"attempt": 2, "is_main": True}, 4)
    assert isinstance(second, int)


def test_python_takes_the_same_settings(tmp_path, ran):
    (tmp_path / "waiter.toml").write_text("[deliver]\nretries = 1\nbackoff = '0.01'\n")
    (tmp_path / "program.py").write_text(
        "import crunch\nfrom waiter import deliver_with\n"
        "def once(order):\n    return crunch.second(order)\n"
        "print(deliver_with(once).retried)\n"
    )

    assert ran("program.py").stdout == "1\n"
    assert value(tmp_path)["attempt"] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["python:crunch"], 2, "hint: python:MODULE:FUNCTION, for example"),
        (["python:crush:second"], 4, "there is no module crush in "),
        (["python:crunch:secund"], 4, "hint: did you mean python:crunch:second?"),
        (["python:crunch:NOTHING"], 4, "hint: name one that takes an order"),
        (["python:broken:f"], 4, "its module cannot be imported: ZeroDivisionError: division by zero ("),
        (["python:crunch:plain", "x"], 2, "a function takes orders, and no words behind it: x"),
        (["--many", "3", "true"], 2, "--many and --processes are for functions"),
    ],
)
def test_what_is_no_function_is_refused_in_words_and_costs_no_order(tmp_path, ran, words, code, said):
    (tmp_path / "broken.py").write_text("1 / 0\n")

    ended = ran("-m", "waiter", "deliver", *words)

    assert (ended.returncode, said in ended.stderr, "Traceback" in ended.stderr) == (code, True, False)
    with open_kitchen(str(tmp_path / "kitchen.sqlite")) as kitchen:
        assert kitchen.counts().by_status == {"READY": 1}


def test_a_setting_that_does_not_exist_is_refused_where_it_stands():
    with pytest.raises(UsageError, match="no such setting: slot\nhint: did you mean slots"):
        worker(slot=3)
    with pytest.raises(UsageError, match="timeout="):
        worker(timeout=[])
    assert worker(slots=3, processes=True)(len).settings == {"jobs": "3", "processes": "spawn"}
    assert DeliveryOptions(processes=False).processes == "no"


def test_what_a_function_has_left_for_the_end_of_its_process_is_done(tmp_path, ran):
    """In the waiter's own process, which otherwise ends at once."""
    (tmp_path / "ends.py").write_text(
        "import atexit, pathlib, threading\n"
        "def wait():\n"
        "    threading.main_thread().join()\n"
        "    pathlib.Path('waited').touch()\n"
        "def registers(order):\n"
        "    atexit.register(pathlib.Path('ended').touch)\n"
        "def starts(order):\n"
        "    threading.Thread(target=wait, daemon=False).start()\n"
    )

    assert ran("-m", "waiter", "run", "--processes=no", "python:ends:registers", ":::", "1").returncode == 0
    assert (tmp_path / "ended").exists()

    assert ran("-m", "waiter", "run", "--processes=no", "python:ends:starts", ":::", "2").returncode == 0
    assert (tmp_path / "waited").exists()
