"""The documentation as a site: it builds without a broken link, every page has its place, the reference has all."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys

from tests.conftest import outcome
from tests.docs.page import ROOT
from waiter import open_kitchen
from waiter.delivery import hooks
from waiter.errors import ExitCode
from waiter.machines import Call, Ledger, Machine, Market
from waiter.orders import Order, Reason, Status
from waiter.report.columns import COLUMNS
from waiter.settings import _KINDS
from website import json_fields, make

INTERNAL = {"WAITER_DIED", "WAITER_PART", "WAITER_COMPLETE", "WAITER_COUNT", "WAITER_COUNT_ERROR"}
"""A signal, parts of names, and what a shell asks with for completion (Click's)."""


def test_the_site_builds_where_every_page_has_its_place_and_no_link_leads_nowtyped(tmp_path):
    """One test, for all builds use one folder."""
    words = [sys.executable, "website/make.py", str(tmp_path)]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110)

    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= {path.parent.name for path in tmp_path.rglob("index.html")}
    assert "<code>ls | parallel -j4 gzip</code>" in (tmp_path / "from-parallel/index.html").read_text()
    verbs = (tmp_path / "reference/command-line/index.html").read_text()
    assert "Take orders and run CMD with the arguments of each." in verbs
    elsewhere = re.findall(r'(?:src|href)="(https?://[^"]+)"', verbs)
    assert [address for address in elsewhere if "squidfunk" not in address] == []

    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    whole = (tmp_path / "docs/resume.md").read_text()
    for broken in ("[x](nowhere.md)", "[x](guide.md#no-such-heading)"):
        (tmp_path / "docs/resume.md").write_text(f"{whole}\n{broken}\n")
        assert make.main(tmp_path / "site", tmp_path / "docs") == 1, broken


def test_the_reference_has_every_variable():
    text = "\n".join(path.read_text() for path in (ROOT / "waiter").rglob("*.py"))
    named = {*make.READ, *make.SEEN, *make.HOOKS, *make.TOLD}

    assert set(re.findall(r"\bWAITER_[A-Z_]*[A-Z]\b", text)) - INTERNAL <= named
    order = Order("b-1", "b", 1, ("x",))
    ended = outcome(order, Status.ERROR, exit_code=3, signal=15, reason=Reason.EXIT, error="no", result="1")
    assert set(make.HOOKS) == set(hooks.facts(order, ended))


def test_the_reference_has_every_column_and_exit_code():
    pages = make.reference()

    assert set(make.FIELDS) == set(COLUMNS)
    assert all(f"| {code.value} | {code.words} |" in pages["exit-codes"] for code in ExitCode)
    assert "| `retries` |" in pages["settings"]
    assert "| `hosts-file` |" in pages["settings"].partition("### [fleet]")[2]
    assert {key.strip("[]") for key in make.KEYS} == set(_KINDS)


def test_the_reference_has_every_field_of_json(waiter_cli, tmp_path):
    """Each verb is typed once, in an order in which all fields come up."""
    seen: dict[str, set[str]] = {}

    def typed(verb: str, *words: str, kitchen: str = "k.sqlite") -> None:
        said = waiter_cli(verb, "--json", *words, **({"WAITER_KITCHEN": kitchen} if kitchen else {}))
        seen[verb] = set(json_fields.keys(json.loads(said.stdout.splitlines()[0])))

    (tmp_path / "a.csv").write_text("1\n2\n3\n")
    (tmp_path / "b.csv").write_text("4\n")
    typed("load", "--batch", "a", "a.csv")
    typed("load", "--batch", "b", "--after", "a", "b.csv")
    with open_kitchen(str(tmp_path / "k.sqlite")) as kitchen:
        shift = kitchen.check_in("ada", socket.gethostname(), os.getpid())
        fails, runs = kitchen.claim(shift, 2)
        machine = Machine("i-1", "m7a.large", Market.SPOT, kitchen.now(), price=0.1)
        Ledger(kitchen, "crunch").intend(
            Call("0" * 32, kitchen.now(), "ann@laptop", 1, Market.SPOT, {}, machines=(machine,))
        )
        why = {"reason": Reason.EXIT, "error": "no", "error_group": "g", "command": "c"}
        kitchen.finish(shift, [outcome(fails, Status.ERROR, exit_code=3, **why)])
        typed("pause", "--batch", "a")
        for verb in ("errors", "waiters", "batches"):
            typed(verb)
        typed("status", "--more-hosts", "2", "--fail-if", "error>0")
        typed("resume", "--batch", "a")
        typed("wait", "--timeout", "0.1")
        typed("notify", "--timeout", "0.1", "--report", "r.html", "--link", "https://x.example", "true")
        typed("try", fails.id, "true")
        typed("pilot", "-n", "1", "true")
        typed("drain", "ada")
        kitchen.finish(shift, [outcome(runs)])
    for words in ("priority 3", "reset --yes --match 9", "cancel --yes", "watch", "clean --yes"):
        typed(*words.split())
    waiter_cli("run", "true", ":::", "1")
    typed("runs", kitchen="")

    assert seen == {verb: set(fields) for verb, fields in json_fields.FIELDS.items()}
