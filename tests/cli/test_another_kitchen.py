"""A kitchen of somebody else's: an installed package names it, and every verb takes its addresses."""

from __future__ import annotations

import json

import pytest

from tests.toy_kitchen import TOY
from waiter.errors import UsageError
from waiter.kitchen import KINDS, kind_of


@pytest.fixture
def toy(waiter_cli, home, tmp_path):
    """Runs `waiter` on a toy kitchen, with the toy's package installed."""
    metadata = tmp_path / "installed/toy_kitchen-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-kitchen\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[waiter.kitchens]\ntoy = tests.toy_kitchen:TOY\nbad = json:dumps\n")
    address = f"toy://{tmp_path}/orders.toy"

    def run(*arguments, kitchen=address, **facts):
        path = f"{tmp_path}/installed:{home['PYTHONPATH']}"
        return waiter_cli("--kitchen", kitchen, *arguments, PYTHONPATH=path, **facts)

    return run


def test_load_status_and_deliver_work_on_it(toy):
    loaded = toy("load", "-", input="1\n2\n3\n")
    again = toy("load", "-", input="1\n2\n3\n")
    before = json.loads(toy("status", "--json").stdout)
    delivered = toy("deliver", "-j", "2", "--", "sh", "-c", '[ "$0" != 2 ] && echo "tile-$0" > $WAITER_RESULT')
    after = json.loads(toy("status", "--json").stdout)

    assert (loaded.returncode, again.returncode, delivered.returncode) == (0, 0, 1), delivered.stderr
    assert before["counts"] == {"READY": 3, "RUNNING": 0, "DONE": 0, "ERROR": 0, "CANCELLED": 0}
    assert after["counts"] == {"READY": 0, "RUNNING": 0, "DONE": 2, "ERROR": 1, "CANCELLED": 0}
    results = toy("extract", "--format", "jsonl", "--columns", "status,result").stdout.splitlines()
    assert sorted(json.loads(line)["result"] or "" for line in results) == ["", "tile-1\n", "tile-3\n"]
    assert "exit code 1" in toy("errors").stdout


def test_what_it_cannot_do_it_says(toy):
    toy("load", "-", input="1\n")

    refused = toy("pause")

    assert (refused.returncode, "cannot pause waiters" in refused.stderr) == (3, True)


def test_hosts_do_not_take_it(toy):
    refused = toy("fleet", "start", "--hosts", "somewhere", "--cmd", "true")

    assert refused.returncode == 2
    assert "hosts have no driver for this kind of kitchen" in refused.stderr


@pytest.mark.parametrize(("address", "words"), [("none://x", "no such kind of kitchen"), ("bad://x", "no KitchenKind")])
def test_an_address_that_no_kitchen_takes_is_refused(toy, address, words):
    refused = toy("status", kitchen=address)

    assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr


def test_an_address_means_one_kind():
    schemes = [scheme for kind in (*KINDS, TOY) for scheme in kind.schemes]

    assert len(schemes) == len(set(schemes))
    with pytest.raises(UsageError, match="no such kind of kitchen"):
        kind_of("toy:///orders")  # nothing that names it is installed here
