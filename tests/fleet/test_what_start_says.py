"""`start` and `restart` say what runs: the command as it is typed, a script that has changed, settings that differ."""

from __future__ import annotations

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from waiter.orders import Selector, Status

ANNA = ("--limit", "*.2")


def results(shared: SharedKitchen) -> list[str]:
    return [(order.result or "").strip() for order in shared.kitchen.find(Selector(), with_details=True)]


def test_a_command_is_typed_bare_and_what_differs_from_what_runs_is_named(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    shared.load(1)
    laptop.script('echo "$*" > "$WAITER_RESULT"', "job.sh")
    start = ("start", *shared.flags, *ANNA)

    first = laptop.fleet(*start, "./job.sh", "--until", "noon", "{1}")

    assert first.returncode == 0, first.stderr
    eventually(lambda: shared.count(Status.DONE) == 1, 30)
    assert results(shared) == ["--until noon 1"]
    assert laptop.outcomes(*start, "./job.sh", "--until", "noon", "{1}") == {"anna": "already running"}

    def said(*words: str) -> str:
        done = laptop.fleet(*start, *words)
        assert done.returncode == 1
        return done.stderr

    assert ": other settings: it runs with other settings: --jobs, --retries\n" in said(
        "-j3", "--retries=1", "./job.sh", "--until", "noon", "{1}"
    )
    assert ": other settings: it runs another command: ./job.sh --until noon {1}\n" in said("./job.sh", "{1}")
    laptop.script('echo new > "$WAITER_RESULT"', "job.sh")
    assert ": older script: ./job.sh here differs from the one that it runs\n" in said(
        "--cmd", "./job.sh --until noon {1}"
    )

    again = laptop.fleet("restart", *ANNA)

    assert (again.returncode, " restarted " in again.stdout) == (0, True)
    assert ": ./job.sh runs as it was sent; the one here differs\n" in again.stderr
    assert (
        f"    to send it: waiter fleet restart --hosts {laptop.addresses} --limit '*.2' --cmd './job.sh --until noon"
        in (again.stderr)
    )
    sent = laptop.fleet("restart", *ANNA, *shared.flags, "--cmd", "./job.sh")
    assert (sent.returncode, "as it was sent" in sent.stderr) == (0, False)


def test_doctor_says_that_nobody_named_a_kitchen(laptop: Laptop, shared: SharedKitchen) -> None:
    without = laptop.fleet("doctor", *ANNA)

    assert (without.returncode, " fit " in without.stdout) == (0, True)
    assert "no kitchen is named, so whether hosts reach it was not checked\n" in without.stderr
    assert "nobody named a kitchen" not in laptop.fleet("doctor", *ANNA, *shared.flags).stderr


def test_the_kitchens_address_for_hosts_comes_from_a_flag_a_variable_or_waiter_toml(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    laptop.script("true")
    (laptop.folder / "waiter.toml").write_text('[fleet]\nkitchen_from_hosts = "mongodb+srv://db.example/"\n')
    laptop.env["WAITER_KITCHEN"] = shared.url
    start = ("start", "--db", shared.db, *ANNA, "--cmd", "./crunch.sh")

    by_file = laptop.fleet(*start)
    laptop.env["WAITER_KITCHEN_FROM_HOSTS"] = shared.url
    by_flag = laptop.fleet(*start, "--kitchen-from-hosts", "mongodb+srv://db.example/")
    by_variable = laptop.fleet(*start)
    laptop.env["WAITER_KITCHEN_FROM_HOSTS"] = ""
    empty = laptop.fleet(*start)

    assert [each.returncode for each in (by_file, by_flag, by_variable, empty)] == [2, 2, 0, 2]
    assert "hosts cannot look up mongodb+srv:// names" in by_file.stderr
    assert "hosts cannot look up mongodb+srv:// names" in by_flag.stderr
    assert "WAITER_KITCHEN_FROM_HOSTS is empty" in empty.stderr


def test_what_would_be_misunderstood_is_refused(laptop: Laptop) -> None:
    laptop.script("true")
    (laptop.folder / "fabfile.py").write_text(
        "from invoke.collection import Collection\nfrom waiter.fleet.tasks import fleet_tasks\n"
        "ns = Collection(fleet_tasks())\n"
    )

    by_fabric = laptop.fab("-H", "anna", "fleet.hosts")
    twice = laptop.fleet("start", "-k", "mongodb://db.example/", "--cmd", "./crunch.sh", "./crunch.sh")
    quoted = laptop.fleet("start", "-k", "mongodb://db.example/", "./crunch.sh --fast")

    assert (by_fabric.returncode, by_fabric.stderr.splitlines()[-1]) == (2, "hint: fab fleet.hosts --hosts=anna")
    assert (twice.returncode, "give one of them" in twice.stderr) == (2, True)
    assert (quoted.returncode, "drop the quotes, or --cmd './crunch.sh --fast'" in quoted.stderr) == (2, True)
