"""What cron and monitoring ask: does a condition hold, and was a kitchen forgotten."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from tests.conftest import Clock, fill, outcome
from waiter.kitchen.contract import Kitchen
from waiter.orders import Status


@pytest.fixture
def kitchen_with_a_failure(kitchen):
    """Three orders: one DONE, one in ERROR, one READY, and nobody at work."""
    fill(kitchen, [["a"], ["b"], ["c"]])
    shift = kitchen.check_in("ada", "here", 1)
    done, failed = kitchen.claim(shift, 2)
    kitchen.finish(shift, [outcome(done), outcome(failed, Status.ERROR, error="no such tile")])
    kitchen.check_out(shift)
    return kitchen


def test_a_condition_that_holds_is_one_line_and_exit_code_1(kitchen_with_a_failure, ask):
    said = ask("status", "--fail-if", "error>0", code=1)

    assert said.stdout.startswith("error>0: 1 (")
    assert len(said.stdout.splitlines()) == 1
    assert said.stderr == ""


def test_conditions_that_do_not_hold_say_nothing(kitchen_with_a_failure, ask):
    said = ask("status", "--fail-if", "error>1", "--fail-if", "idle>10m", "--fail-if", "oldest > 1h")

    assert said.stdout + said.stderr == ""


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("ready>=1", "ready>=1: 1"),
        ("running=0", "running=0: 0"),
        ("DONE==1", "DONE==1: 1"),
        ("cancelled<1", "cancelled<1: 0"),
        ("total!=4", "total!=4: 3"),
        ("claimed<=0", "claimed<=0: 0"),
        ("waiters < 1", "waiters < 1: 0"),
        ("rate<6000/min", "rate<6000/min: "),
        ("oldest<1s", "oldest<1s: 0 s"),
    ],
)
def test_all_that_status_tells_can_be_asked_for(kitchen_with_a_failure, ask, condition, shown):
    assert ask("status", "--fail-if", condition, code=1).stdout.startswith(shown)


def test_all_conditions_that_hold_are_told(kitchen_with_a_failure, ask):
    said = ask("status", "--json", "--fail-if", "error>0", "--fail-if", "waiters<1", "--fail-if", "done>9", code=1)

    assert json.loads(said.stdout)["failed_if"] == ["error>0: 1", "waiters<1: 0"]
    assert json.loads(said.stdout)["total"] == 3


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            "errors>0",
            "nothing is called errors\nhint: known are ready, running, done, error, cancelled, waiting, total",
        ),
        ("error", "not a condition\nhint: write 'error>0' or 'idle>10m'"),
        ("error>many", "many is not a number\nhint: error is compared with a whole number"),
        ("idle>soon", "soon: not a duration"),
        ("rate<fast", "fast is not a number\nhint: rate is compared with a rate: 5, 5/s, 30/min"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(kitchen, ask, condition, words):
    assert words in ask("status", "--fail-if", condition, code=2).stderr


def test_conditions_of_a_batch_are_about_its_orders(kitchen_with_a_failure, ask):
    fill(kitchen_with_a_failure, [["d"]], batch="other")

    ask("status", "--batch", "other", "--fail-if", "error>0")
    ask("status", "--batch", "b", "--fail-if", "error>0", code=1)


def idle(kitchen: Kitchen) -> float:
    """What `idle` is for this kitchen now."""
    from waiter.report.conditions import measure
    from waiter.report.status import status_facts

    return measure(kitchen, "idle", status_facts(kitchen, None, None), None)


def test_idle_is_for_how_long_nobody_works_although_orders_are_left(kitchen_with_a_failure, clock: Clock):
    kitchen = kitchen_with_a_failure
    clock.advance(600)
    assert idle(kitchen) == pytest.approx(600, abs=30)

    shift = kitchen.check_in("bob", "here", 1)
    (order,) = kitchen.claim(shift, 1)
    assert idle(kitchen) == 0  # somebody works

    kitchen.finish(shift, [outcome(order)])
    clock.advance(600)
    assert idle(kitchen) == 0  # nothing is left


def test_orders_of_waiters_that_are_gone_are_idle_too(kitchen_with_a_failure, clock: Clock):
    kitchen = kitchen_with_a_failure
    gone = subprocess.Popen(["true"])
    shift = kitchen.check_in("bob", socket.gethostname(), gone.pid)
    gone.wait()
    assert kitchen.claim(shift, 1)
    clock.advance(600)

    assert idle(kitchen) == pytest.approx(600, abs=30)


def test_a_kitchen_that_cannot_be_asked_has_a_code_of_its_own(waiter_cli):
    assert waiter_cli("status", "-k", "absent.sqlite", "--fail-if", "error>0").returncode == 3


VERBS = [
    ("load", "-"),
    ("deliver", "true"),
    ("run", "true"),
    ("status",),
    ("orders",),
    ("show", "b-1"),
    ("errors",),
    ("waiters",),
    ("extract",),
    ("reset", "--yes"),
    ("cancel", "--yes"),
    ("priority", "1"),
    ("pause",),
    ("resume",),
    ("drain", "ada"),
    ("wait",),
    ("notify", "true"),
    ("watch",),
    ("pilot", "true"),
    ("try", "b-1", "true"),
    ("clean", "--yes"),
]
REFUSAL = (
    "no kitchen is named: --require-kitchen, or require = true in waiter.toml, refuses the default one\nhint: give"
)


@pytest.mark.parametrize("words", VERBS, ids=[verb for verb, *_ in VERBS])
def test_every_verb_refuses_the_default_kitchen_where_one_is_required(waiter_cli, tmp_path, home, words):
    (tmp_path / "waiter.toml").write_text("require = true\n")

    refused = waiter_cli(*words, input="a\n")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert REFUSAL in refused.stderr
    assert not list((tmp_path / "home").rglob("*.sqlite"))


def test_a_kitchen_is_required_by_a_flag_before_or_after_the_verb(waiter_cli):
    assert REFUSAL in waiter_cli("--require-kitchen", "clean", "--yes").stderr
    assert REFUSAL in waiter_cli("clean", "--require-kitchen", "--yes").stderr


def test_a_kitchen_that_is_required_and_named_is_used(ask, kitchen_url, waiter_cli, tmp_path):
    (tmp_path / "waiter.toml").write_text("require = true\n")

    ask("load", "-", input="a\n")

    assert waiter_cli("status", "--json", WAITER_KITCHEN=kitchen_url).returncode == 0
    assert waiter_cli("run", "--require-kitchen", "true", input="b\n", WAITER_KITCHEN=kitchen_url).returncode == 0
    (tmp_path / "waiter.toml").write_text(f'require = true\nkitchen = "{kitchen_url}"\n')
    assert waiter_cli("status").returncode == 0


def test_require_is_true_or_false(waiter_cli, tmp_path):
    (tmp_path / "waiter.toml").write_text('require = "yes"\n')

    assert "require must be true or false" in waiter_cli("status").stderr


def test_python_heeds_it_too(waiter_cli, tmp_path, monkeypatch):
    from waiter import open_kitchen
    from waiter.errors import UsageError

    (tmp_path / "waiter.toml").write_text("require = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAITER_KITCHEN", raising=False)
    with pytest.raises(UsageError, match="no kitchen is named"):
        open_kitchen()
