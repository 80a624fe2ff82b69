"""What a user is told about orders, failures and waiters, on both kitchens."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.conftest import check_in, eventually, fill, outcome
from waiter.orders import Reason, Selector, Status, Vitals
from waiter.report.status import status_facts


def failed(order, message, group, **facts):
    return outcome(order, Status.ERROR, reason=Reason.EXIT, exit_code=3, error=message, error_group=group, **facts)


@pytest.fixture
def busy(kitchen):
    """Two hosts: on b three orders failed alike, on a one of another kind; one is DONE, one RUNNING, two wait."""
    fill(kitchen, [[str(n)] for n in range(1, 9)])
    told = Vitals(slots=2, busy=1, delivered=1, failed=1, command="sh -c 'exit 3' x", command_hash="c1")
    a = kitchen.check_in("a", "host-of-a", 1, told)
    b = check_in(kitchen, "b")
    own, done, running = kitchen.claim(a, limit=3)
    theirs = kitchen.claim(b, limit=3)
    kitchen.finish(a, [failed(own, "odd", "0000aaaa", command="c1"), outcome(done, result='{"k": 7}', command="c1")])
    tail = "one\ntwo\n\x1b[31mthree\nfour\n"
    kitchen.finish(b, [failed(order, f"no tile {order.row}", "1111bbbb", tail=tail) for order in theirs])
    return kitchen


def test_failures_come_in_groups_the_largest_first(ask, busy):
    told = ask.json("errors")

    assert set(told) == {"groups"}
    assert [(g["group"], g["count"], g["exit_code"], g["hosts"]) for g in told["groups"]] == [
        ("1111bbbb", 3, 3, ["host-of-b"]),
        ("0000aaaa", 1, 3, ["host-of-a"]),
    ]
    example = told["groups"][0]["example"]
    assert ask.json("show", example)["error"] == told["groups"][0]["message"]


def test_failures_of_one_host_only_are_flagged(ask, busy):
    assert "all 3 on host-of-b" in ask("errors").stdout
    assert [group["only_host"] for group in ask.json("errors")["groups"]] == ["host-of-b", None]


def test_a_host_that_works_alone_is_not_blamed(ask, kitchen):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    kitchen.finish(shift, [failed(order, "odd", "0000aaaa") for order in kitchen.claim(shift, limit=2)])

    assert ask.json("errors")["groups"][0]["only_host"] is None


def test_an_example_shows_its_last_lines_and_no_control_characters(ask, busy):
    (group, _) = ask.json("errors", "--lines", "2")["groups"]
    assert group["last_lines"] == ["\\x1b[31mthree", "four"]
    assert "\x1b" not in ask("errors").stdout


def test_so_many_groups_are_told_as_were_asked_for_and_to_programs_all(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(12)])
    shift = check_in(kitchen)
    kitchen.finish(
        shift, [failed(order, "x", f"{n:08x}", tail="last") for n, order in enumerate(kitchen.claim(shift, limit=12))]
    )
    assert [group["last_lines"] for group in ask.json("errors")["groups"]] == [["last"]] * 12
    assert len(ask.json("errors", "--limit", "3")["groups"]) == 3
    assert ask("errors").stdout.count("1 order (8.3 %)") == 10
    assert "--limit 12 shows all" in ask("errors").stderr


def test_failures_can_be_selected(ask, busy):
    assert [group["group"] for group in ask.json("errors", "--host", "host-of-a")["groups"]] == ["0000aaaa"]
    assert ask.json("errors", "--host", "nowhere") == {"groups": []}


def test_orders_are_listed_as_they_are_selected_and_sorted(ask, busy):
    def rows(*arguments):
        return [order["row"] for order in ask.json("orders", *arguments)["orders"]]

    assert rows() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows("--sort=-age", "--limit", "2") == [8, 7]
    assert rows("--status", "error", "--host", "host-of-b") == [4, 5, 6]
    assert rows("--like", "0000aaaa") == [1]
    assert rows("b-2", "b-8") == [2, 8]


def test_a_list_that_was_cut_says_so_and_fits_80_columns(ask, busy):
    told = ask("orders", "--limit", "3")
    assert "The first 3" in told.stderr
    lines = told.stdout.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80


def test_show_tells_all_about_an_order(ask, busy):
    order = ask.json("show", "b-2")
    assert (order["_id"], order["status"], order["arguments"]) == ("b-2", "DONE", ["2"])
    assert order["result"] == {"k": 7}
    assert [(event["what"], event["status"], event["waiter"]) for event in order["history"]] == [
        ("finish", "DONE", "a")
    ]
    assert "four" in ask("show", "b-4").stdout


def test_show_gives_the_command_line_that_does_it_by_hand(ask, busy):
    line = ask.json("show", "b-1")["command_line"]
    assert line == "sh -c 'exit 3' x 1"
    assert subprocess.run(line, shell=True).returncode == 3


@pytest.mark.parametrize("verb", ["show", "orders", "extract", "reset", "cancel", "clean"])
def test_an_unknown_order_is_named(ask, busy, verb):
    assert "no such order: nope-1" in ask(verb, "nope-1", code=2).stderr
    assert busy.counts().total == 8


def test_a_line_to_try_by_hand_holds_every_byte(ask, kitchen):
    fill(kitchen, [["\n'\\" + b"\xff".decode("utf-8", "surrogateescape"), "é x"]])
    kitchen.check_in("a", "h", 1, Vitals(command="printf '[%s]'"))
    line = ask.json("show", "b-1")["command_line"]
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True).stdout == b"[\n'\\" + b"\xff][\xc3\xa9 x]"


def test_the_history_says_once_how_an_attempt_ended_and_who_did_it(ask, busy):
    busy.reset(Selector(ids=("b-4",)))
    shown = ask("show", "b-4").stdout
    assert "finish, attempt 1: ERROR, no tile 4, after 1 s, by b\n" in shown
    assert "reset, attempt 1: READY\n" in shown


def test_waiters_are_told_with_what_they_do(ask, busy):
    a, b = ask.json("waiters")["waiters"]
    assert (a["waiter"], a["state"], a["busy"], a["slots"], a["failed"], a["command_hash"]) == (
        "a",
        "alive",
        1,
        2,
        1,
        "c1",
    )
    assert (b["waiter"], b["state"]) == ("b", "alive")


def test_the_table_of_a_fleet_fits_80_columns_and_tells_its_waiters_apart(ask, kitchen):
    vitals = Vitals(slots=16, busy=16, delivered=123_456, failed=12_345, memory=130 << 20, load=16.2, command_hash="c1")
    names = [f"ip-10-120-133-{n}.ec2.internal/471134" for n in (70, 71)]
    for name in names:
        kitchen.check_in(name, "h", 1, vitals)
    table = ask("waiters").stdout.splitlines()
    assert max(map(len, table)) <= 80
    assert len({line.split()[0] for line in table}) == 3
    assert "Version of the command: c1." in ask("waiters").stderr
    kitchen.check_in("new", "h", 1, Vitals(command_hash="c2"))
    assert ask("waiters").stdout.split().count("c1") == 2


def test_waiters_that_went_home_are_shown_on_demand(ask, kitchen):
    kitchen.check_out(check_in(kitchen))
    assert ask.json("waiters")["waiters"] == []
    assert [waiter["state"] for waiter in ask.json("waiters", "--all")["waiters"]] == ["left"]


def test_odd_arguments_break_no_table(ask, kitchen):
    fill(kitchen, [["\x1b[2J", "a b", b"\xff".decode("utf-8", "surrogateescape"), "é"]])
    shown = ask("orders").stdout
    assert "\x1b" not in shown
    assert '"a b"' in shown
    assert "\\xff" in shown
    assert "\\xff" in ask("show", "b-1").stdout


NASTY = "\x1b]0;owned\x07\x9b31m\u202e"
"""Sets a terminal's title, its colour, and turns the writing round."""


def test_nobodys_words_make_a_terminal_obey(ask, kitchen, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"name" + NASTY: "value" + NASTY, "n": "1"}) + "\n" * 2)
    ask("load", "--batch", "batch" + NASTY, "in.jsonl")
    shift = kitchen.check_in("ada" + NASTY, "host" + NASTY, 1)
    kitchen.pause("ada" + NASTY, "reason" + NASTY)
    kitchen.resume()
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [failed(order, "error" + NASTY, "0000aaaa", tail="tail" + NASTY, result="result" + NASTY)])
    kitchen.pause("ada" + NASTY, "reason" + NASTY)
    unknown = "nobody" + NASTY
    told = [ask(verb, *words) for verb, *words in (["errors"], ["orders"], ["show", order.id], ["waiters"], ["status"])]
    wrong = (["show", unknown], ["orders", "--batch", unknown], ["orders", "--since", unknown], ["drain", unknown])
    told += [ask(*words, code=2) for words in wrong]
    told += [ask("load", unknown, code=1), ask("deliver", unknown, code=4), ask("cancel", unknown, code=2)]
    for ended in told:
        assert not set(NASTY) - set("]0;owned31m") & set(ended.stdout + ended.stderr), ended.args


def test_trying_an_order_leaves_the_kitchen_as_it_was(ask, busy):
    before = ask.json("show", "b-7")

    tried = ask("try", "--json", "b-7", "sh", "-c", 'echo "got $1"; echo 42 > "$WAITER_RESULT"; exit 5', "x", code=5)

    told = json.loads(tried.stdout)
    assert (told["exit_code"], told["result"].strip(), told["argv"][-1]) == (5, "42", "7")
    assert "got 7" in tried.stderr
    assert ask.json("show", "b-7") == before


def test_a_pilot_delivers_random_orders_and_reckons_with_them(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(1, 201)], priority=4)

    flags = ("-n", "8", "-j2", "--hosts", "4", "--slots", "5", "--price", "2", "--json")
    told = json.loads(ask("pilot", *flags, "true").stdout)

    assert (told["orders"], told["failed"], told["left"]) == (8, 0, 192)
    here, fleet = told["projected"]
    assert (here["hosts"], here["slots"], fleet["hosts"], fleet["slots"]) == (1, 2, 4, 5)
    assert fleet["cost"][1] == pytest.approx(fleet["eta"][1] / 3600 * 4 * 2)
    left = ask.json("orders", "--limit", "200")["orders"]
    done = [order["row"] for order in left if order["status"] == "DONE"]
    assert len(done) == 8
    assert done != list(range(1, 9))  # one in 10**14 by chance
    assert {order["priority"] for order in left if order["status"] == "READY"} == {4}


def test_a_pilot_counts_what_failed(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(1, 5)])
    told = json.loads(ask("pilot", "-n", "20", "--json", "false", code=1).stdout)
    assert (told["orders"], told["failure_rate"], told["left"], told["projected"]) == (4, 1.0, 0, [])


def test_a_pilot_with_nothing_to_deliver_says_so(ask, kitchen):
    assert "no order is READY" in ask("pilot", "true", code=2).stderr


def test_what_a_new_waiter_delivers_is_soon_told(ask, begin, kitchen):
    fill(kitchen, [["0.1"]] * 300)
    begin("deliver", "sleep")

    def delivered():
        return sum(waiter["delivered"] for waiter in ask.json("waiters")["waiters"])

    eventually(delivered)
    (shift,) = kitchen.shifts()
    assert shift.heartbeat_at - shift.since < 14  # a usual beat comes every 15 s


def test_a_short_shift_is_told_whole(ask, kitchen):
    fill(kitchen, [["0"], ["1"]])
    ask("deliver", "test", "0", "=", code=1)

    (gone,) = ask.json("waiters", "--all")["waiters"]

    assert (gone["state"], gone["busy"], gone["delivered"], gone["failed"]) == ("left", 0, 1, 1)


def test_what_an_old_terminal_cannot_show_is_escaped(waiter_cli):
    waiter_cli("load", "-k", "k.sqlite", "-", input="\u2603\n")
    told = waiter_cli("orders", "-k", "k.sqlite", PYTHONIOENCODING="latin-1")
    assert told.returncode == 0
    assert "\\u2603" in told.stdout


def test_a_new_waiters_rate_is_not_thinned_by_the_time_before_it(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(40)])
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=30)])

    told = ask.json("status")

    assert told["rate"] > 1  # 30 in some seconds, and not in a minute
    assert told["eta"][0] < told["eta"][1] < 30


def test_with_more_hosts_it_ends_sooner(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(40)])
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=30)])

    told = ask.json("status", "--more-hosts", "3")

    assert told["with_more_hosts"]["hosts"] == 3
    assert told["with_more_hosts"]["eta"][0] < told["eta"][0]
    assert "With 3 more hosts like these: done in" in ask("status", "--more-hosts", "3").stderr


def test_slow_orders_have_an_end_as_well(ask, kitchen, clock):
    fill(kitchen, [[str(n)] for n in range(40)])
    shift = check_in(kitchen)
    for _ in range(4):
        (order,) = kitchen.claim(shift, limit=1)
        for _ in range(4):
            clock.advance(50)
            kitchen.heartbeat(shift, Vitals())
        kitchen.finish(shift, [outcome(order, stop=kitchen.now())])
    assert status_facts(kitchen, None, None)["eta"][0] < 36 * 200 < status_facts(kitchen, None, None)["eta"][1]


def test_mixed_versions_of_the_command_are_told_with_the_line_that_mends_it(ask, kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    for name, version, count in (("old", "0ld", 2), ("new", "11ew", 1)):
        shift = kitchen.check_in(name, "h", 1, Vitals(command_hash=version))
        kitchen.finish(shift, [outcome(order, command=version) for order in kitchen.claim(shift, limit=count)])
    assert "2 versions of the command: 0ld (2), 11ew (1)." in ask("status").stderr
    assert "waiter reset --except-command 11ew\n" in ask("status").stderr

    assert ask.json("reset", "--yes", "--except-command", "11ew")["reset"] == 2

    assert ask.json("status")["commands"] == {"11ew": 1}


def test_a_batch_has_no_end_in_sight_while_the_work_is_shared(ask, kitchen):
    fill(kitchen, [[str(n)] for n in range(10)], batch="one")
    fill(kitchen, [["x"]], batch="two")
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=5)])
    assert ask.json("status", "--batch", "one")["eta"] is None
    kitchen.cancel(Selector(batch="two"))
    assert ask.json("status", "--batch", "one")["eta"] is not None
