"""Stages as a user types them: batches that wait for others, who does them, and what is said of them meanwhile."""

from __future__ import annotations

import json

import pytest

from tests.conftest import eventually

ROWS = "1\n2\n3\n"


def counts(ask, batch: str) -> dict[str, int]:
    (found,) = (one for one in ask.json("batches")["batches"] if one["name"] == batch)
    return {word: n for word, n in found["counts"].items() if n}


def test_one_waiter_does_stage_after_stage_of_the_same_input(ask, tmp_path):
    (tmp_path / "in.txt").write_text(ROWS)
    ask("load", "--batch", "prepare", "--for", "echo prepare", "in.txt")
    told = ask("load", "--batch", "align", "--after", "prepare", "in.txt")
    ask("load", "--batch", "report", "--after-any", "align", "--after", "prepare", "--for", "echo report", "in.txt")
    assert "once it waits no more\nhint: --for './align.sh {1}' keeps it for one" in told.stderr
    assert "Nothing new" in ask("load", "--batch", "align", "--after", "prepare", "in.txt").stderr
    ask("batch", "bind", "align", "echo", "align")

    done = ask("deliver", "-j2")

    stages = [line.split()[0] for line in done.stdout.splitlines()]
    assert stages == ["prepare"] * 3 + ["align"] * 3 + ["report"] * 3


def test_a_waiter_waits_for_the_work_of_others_and_goes_home_when_it_came_to_naught(ask, begin):
    ask("load", "--batch", "prepare", "--for", "test 2 -ne", "-", input=ROWS)
    ask("load", "--batch", "align", "--after", "prepare", "--for", "echo aligned", "-", input=ROWS)
    early = begin("deliver", "echo", "aligned")
    eventually(lambda: ask.json("waiters")["waiters"])
    assert counts(ask, "align") == {"WAITING": 3}
    eventually(lambda: "waits for batch prepare, which batch align comes after" in ask("waiters").stderr)

    ask("deliver", "test", "2", "-ne", code=1)  # 2 fails
    said = early.communicate(timeout=30)[0]

    assert early.returncode == 0
    assert "aligned" not in said.replace("echo aligned", "")
    assert "Batch align waits for batch prepare: 1 ERROR; its turn does not come by itself\n" in said
    assert "waiter reset --batch prepare; or go on without: waiter batch release align" in said
    assert counts(ask, "align") == {"WAITING": 3}
    ask("batch", "release", "align")
    assert counts(ask, "align") == {"READY": 3}
    assert ask("deliver", "echo", "aligned").stdout.split() == ["aligned", "1", "aligned", "2", "aligned", "3"]


def test_whoever_looks_is_told_what_waits_and_for_what(ask, begin):
    ask("load", "--batch", "prepare", "--for", "true", "-", input=ROWS)
    ask("load", "--batch", "align", "--after", "prepare", "--for", "true", "-", input=ROWS)
    why = "waits for batch prepare: 3 left"

    assert "WAITING       3  50.0 %" in ask("status").stdout
    assert f"Batch align {why}." in ask("status").stderr
    facts = ask.json("status")
    assert (facts["counts"]["READY"], facts["counts"]["WAITING"], facts["waiting"][0]["why"]) == (3, 3, why)
    assert "WAITING" not in ask.json("status", "--batch", "prepare")["counts"]
    ask("status", "--fail-if", "waiting>2", code=1)
    listed = ask("orders", "--batch", "align")
    assert listed.stdout.count("  WAITING  ") == 3
    assert f"align {why}." in listed.stderr
    assert ask("orders", "--status", "WAITING").stdout == listed.stdout
    assert "--status WAITING: those are READY already" in ask("reset", "--status", "waiting", code=2).stderr
    assert "only orders in ERROR are failures" in ask("errors", "--status", "WAITING", code=2).stderr
    assert f"align {why}" in ask("batches").stderr
    seen = json.loads(begin("watch", "--json").stdout.readline())
    assert (seen["counts"]["READY"], seen["counts"]["WAITING"]) == (3, 3)
    id = ask.json("orders", "--batch", "align")["orders"][0]["_id"]
    assert f"{id}  WAITING\n" in (shown := ask("show", id).stdout)
    assert f"waiting:    align {why}\n" in shown


def test_what_cannot_be_is_refused_by_name(ask):
    ask("load", "--batch", "prepare", "-", input=ROWS)
    ask("load", "--batch", "align", "--after", "prepare", "--for", "true", "-", input=ROWS)

    unknown = ask("load", "--batch", "x", "--after", "prepair", "-", input="9\n", code=2)
    ring = ask("batch", "after", "prepare", "align", code=2)

    assert "no such batch: prepair." in unknown.stderr
    assert "\nhint: did you mean prepare?\n" in unknown.stderr
    assert "these batches would wait for each other: prepare → align → prepare\n" in ring.stderr
    assert len(ask.json("batches")["batches"]) == 2
    ask("load", "--batch", "later", "-", input="7\n")
    ask("batch", "after", "--any", "later", "align")
    assert counts(ask, "later") == {"WAITING": 1}


def test_row_by_row_a_failure_holds_up_its_own_row_alone(ask):
    ask("load", "--batch", "prepare", "--for", "test 2 -ne", "-", input=ROWS)
    ask("load", "--batch", "align", "--after-row", "prepare", "--for", "echo aligned", "-", input=ROWS)
    ask("load", "--batch", "report", "--after-row", "align", "--for", "echo reported", "-", input=ROWS)
    assert counts(ask, "align") == {"WAITING": 3}

    done = ask("deliver", "-j2", "--brake", "0", code=1)

    assert sorted(done.stdout.splitlines()) == ["aligned 1", "aligned 3", "reported 1", "reported 3"]
    assert "Batch align waits row by row for batch prepare: 1 ERROR; its turn does not come by itself" in done.stderr
    assert "Batch report waits row by row for batch align: 1 left" in done.stderr
    assert counts(ask, "align") == counts(ask, "report") == {"WAITING": 1, "DONE": 2}
    assert ask("orders", "--batch", "align").stdout.count("  WAITING  ") == 1


def test_rows_that_the_stage_before_does_not_have_are_named_with_what_to_do(ask):
    ask("load", "--batch", "prepare", "--for", "true", "-", input="1\n2\n")
    ask("load", "--batch", "align", "--after-row", "prepare", "--for", "echo aligned", "-", input="1\n2\n3\n")

    done = ask("deliver")

    assert done.stdout == "aligned 1\naligned 2\n"
    assert (
        "Batch align waits row by row for batch prepare: all DONE, and it lacks 1 row; its turn does not come by itself"
        in done.stderr
    )
    assert "hint: load the rest of the input of prepare; or go on without: waiter batch release align\n" in done.stderr


def test_a_stage_is_told_what_the_one_before_has_of_its_row(ask, tmp_path):
    (tmp_path / "s.csv").write_text("sample,size\nS1,2\nS2,30\n")
    write = 'printf \'{"area": %s, "unit": "m 2"}\' "$1$1" > "$WAITER_RESULT"'
    load = ("--header", "s.csv")
    ask("load", "--batch", "prepare", *load)
    ask(
        "load",
        "--batch",
        "align",
        "--after-row",
        "prepare",
        "--for",
        "echo {sample}: {prepare.area} {prepare.unit}",
        *load,
    )
    ask(
        "load",
        "--batch",
        "draw",
        "--after-row",
        "align",
        "--for",
        "--shell 'echo {prepare.unit} {align.sample/}'",
        *load,
    )
    ask("load", "--batch", "bad", "--after-row", "prepare", "--for", "echo {prepare.aera}", *load)
    ask("batch", "bind", "--shell", "prepare", write.replace("$1$1", "$2$2"))

    done = ask("deliver", "--batch", "prepare", "--batch", "align", "--batch", "draw")

    assert sorted(done.stdout.splitlines()) == ["S1: 22 m 2", "S2: 3030 m 2", "m 2 S1", "m 2 S2"]
    (tmp_path / "own.py").write_text("def own(order):\n    print('own', dict(order.earlier)['prepare.area'])\n")
    ask("load", "--batch", "own", "--after-row", "align", "--for", "python:own:own", *load)
    done = ask("deliver", "--batch", "own", "python:own:own")
    assert sorted(done.stdout.splitlines()) == ["own 22", "own 3030"]
    second = ask.json("orders", "--batch", "draw")["orders"][1]["_id"]
    assert ask("try", second, "echo", "{prepare.area}", "{align.sample}", "{size}").stdout == "3030 S2 30\n"
    wrong = ask("deliver", "--batch", "bad", "--brake", "0", code=1)
    assert "asks for {prepare.aera}. Did you mean {prepare.area}? Of the stages before there is prepare.sample" in (
        wrong.stderr
    )


def test_rows_behind_a_header_are_joined_to_those_of_an_input_without_one(ask, tmp_path):
    (tmp_path / "s.csv").write_text("sample,size\nS1,2\nS2,30\n")
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    (tmp_path / "bad.txt").write_text("one\ntw\0o\n")
    ask("load", "--batch", "a", "--for", "true", "--header", "s.csv")
    lines = ask("load", "--batch", "b", "--after-row", "a", "--for", "echo {1}={a.sample}", "t.txt")
    ask("load", "--batch", "c", "--after-row", "b", "--for", "echo {size}={b.1}={a.sample}", "--header", "s.csv")
    assert "its row 1 is joined to row 2, and gets its number" in lines.stderr
    assert "Nothing new" in ask("load", "--batch", "b", "--after-row", "a", "--for", "x", "t.txt").stderr
    assert "bad.txt, row 2: " in ask("load", "--batch", "d", "--after-row", "a", "--for", "x", "bad.txt", code=1).stderr
    ask("load", "--batch", "plain", "--for", "true", "t.txt")
    named = ask("load", "--batch", "e", "--after-row", "plain", "--for", "echo {sample}={plain.1}", "--header", "s.csv")
    assert "its row 2 is joined to row 1, and gets its number" in named.stderr

    done = ask("deliver", "-j2")

    expected = ["S1=one", "S2=two", "one=S1", "two=S2", "2=one=S1", "30=two=S2"]
    assert sorted(done.stdout.splitlines()) == sorted(expected)


@pytest.mark.parametrize("source", ["s.jsonl", "-"])
def test_rows_of_json_have_no_header_also_where_the_first_is_left_out(ask, tmp_path, source):
    rows = '\n{"n": "0"\n{"n": "1"}\n{"n": 2}\n'
    (tmp_path / "s.jsonl").write_text(rows)
    (tmp_path / "t.txt").write_text("blank\nzero\none\ntwo\n")
    ask("load", "--skip-bad", "--format", "jsonl", "--batch", "a", "--for", "true", source, input=rows)

    loaded = ask("load", "--batch", "b", "--after-row", "a", "--for", "echo {1}={a.n}", "t.txt")

    assert "header" not in loaded.stderr
    assert ask("deliver").stdout == "one=1\ntwo=2\n"


def test_who_waits_for_the_end_is_told_what_keeps_it_from_coming(waiter_cli, kitchen_url):
    kitchen = ("-k", kitchen_url)
    waiter_cli("load", *kitchen, "--batch", "prepare", "--for", "false", "-", input="a\n")
    waiter_cli("load", *kitchen, "--batch", "align", "--after", "prepare", "--for", "true", "-", input="a\n")
    waiter_cli("deliver", *kitchen)

    told = waiter_cli("wait", *kitchen, "--timeout", "1")

    assert told.returncode == 124
    assert "align waits for batch prepare: 1 ERROR\nhint: do again what failed: waiter reset" in told.stderr
