"""Files go to the hosts and come back whole; logs come as they are written; jump hosts and aliases are known."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import must
from waiter.fleet.fetch import folders_of
from waiter.fleet.inventory import Host
from waiter.orders import Selector, Status

STAY = ("--cmd", "./crunch.sh", "--until", "stopped")


def test_push_sends_what_is_missing_verified_and_nothing_twice(laptop: Laptop) -> None:
    laptop.script("cat lib/table.txt")
    (laptop.folder / "lib").mkdir()
    (laptop.folder / "lib/table.txt").write_text("one\n")
    what = ("--cmd", "./crunch.sh", "--dir", "lib")
    temporary = laptop.folder / "temporary"
    temporary.mkdir()
    laptop.env["TMPDIR"] = str(temporary)

    first = laptop.json("push", *what)["hosts"]
    second = laptop.json("push", *what)["hosts"]

    assert [each["outcome"] for each in first] == ["pushed"] * 4
    assert [len(each["files"]) for each in first] == [2] * 4
    assert [each["outcome"] for each in second] == ["already there"] * 4
    assert not list(temporary.iterdir())
    for host in laptop.network.hosts.values():
        (zipapp,) = host.waiter_home.glob("waiter-*.pyz")
        assert hashlib.sha256(zipapp.read_bytes()).hexdigest().startswith(zipapp.stem.removeprefix("waiter-"))
        assert zipapp.stat().st_size <= 4_000_000
        assert {file.name for file in host.waiter_home.glob("bundles/*/*")} == {"crunch.sh", "lib"}
        assert not [file.name for file in host.waiter_home.iterdir() if file.name.startswith(".")]


def test_a_function_goes_to_the_hosts_with_its_module_and_its_settings(laptop: Laptop, shared: SharedKitchen) -> None:
    (laptop.folder / "crunch.py").write_text(
        "import os\nfrom waiter import main, worker\nfrom tables import NAMES\n\n"
        "@worker(slots=2, retries=2, backoff_s=0.1)\ndef name(order):\n"
        "    if order.attempt == 1:\n        raise ValueError('not yet')\n"
        "    return {'name': NAMES[int(order.arguments[0]) % 2], 'slot': os.environ['WAITER_SLOT']}\n\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    (laptop.folder / "tables").mkdir()
    (laptop.folder / "tables/__init__.py").write_text("NAMES = ['even', 'odd']\n")
    shared.load(8)

    done = laptop.fleet("start", *shared.flags, "--cmd", "python:crunch:name", "--dir", "tables")

    assert done.returncode == 0, done.stderr
    eventually(lambda: shared.count(Status.DONE) == 8)
    values = [order.value for order in shared.kitchen.find(Selector(), with_details=True)]
    assert {value["name"] for value in values} == {"even", "odd"}
    assert {value["slot"] for value in values} <= {"1", "2"}


def test_a_command_finds_the_files_that_were_sent_along_as_it_does_here(laptop: Laptop, shared: SharedKitchen) -> None:
    (laptop.folder / "bin").mkdir()
    laptop.script('cat lib/table.txt > "$WAITER_RESULT"', "bin/crunch.sh")
    (laptop.folder / "lib").mkdir()
    (laptop.folder / "lib/table.txt").write_text("one table\n")
    shared.load(4)

    done = laptop.fleet("start", *shared.flags, "--cmd", "bin/crunch.sh", "--file", "lib/table.txt")

    assert done.returncode == 0, done.stderr
    eventually(lambda: shared.count(Status.DONE) == 4)
    assert {order.result for order in shared.kitchen.find(Selector(), with_details=True)} == {"one table\n"}


def test_what_is_cut_short_on_the_way_is_never_put_in_place(laptop: Laptop) -> None:
    anna = laptop.network.hosts["anna"]
    must("mkdir", "-p", str(anna.waiter_home))
    from waiter.fleet import protocol
    from waiter.fleet.protocol import UploadedFile

    (anna.waiter_home / ".half").write_text("half of it")
    command = protocol.host_command(
        "waiter-x.pyz", ["look"], uploaded=[UploadedFile(".half", "waiter-x.pyz", "0" * 64)]
    )

    done = laptop.json("run", "--limit", anna.address, "--", command)["hosts"][0]

    reply = json.loads(done["stdout"].strip().removeprefix(protocol.REPLY_MARK))
    assert reply["trouble"] == "upload failed"
    assert list(anna.waiter_home.iterdir()) == []


def test_fetch_brings_files_folders_and_globs_back_for_each_host(laptop: Laptop) -> None:
    laptop.fleet("run", "--", "mkdir -p out/deep; hostname > out/name.txt; hostname > out/deep/er; ln -s / out/root")

    whole = laptop.fleet("fetch", "out", "results")
    globbed = laptop.fleet("fetch", "out/*.txt", "texts")
    missing = laptop.json("fetch", "nowhere", "x")

    assert whole.returncode == globbed.returncode == 0, whole.stderr
    for host in laptop.network.hosts.values():
        found = laptop.folder / "results" / host.address / "out"
        assert {str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()} == {"name.txt", "deep/er"}
        assert (laptop.folder / "texts" / host.address / "name.txt").read_text() == f"{host.name}\n"
    assert {each["troubles"][0]["detail"] for each in missing["hosts"]} == {"nowhere: no such file on the host"}


def test_one_odd_file_spoils_no_fetch_and_is_named(laptop: Laptop) -> None:
    anna = laptop.network.hosts["anna"]
    out = anna.root / "out"
    (out / "b" / "deep").mkdir(parents=True)
    (out / "b" / "deep" / "fine").write_text("fine")
    (out / os.fsdecode(b"caf\xe9")).write_text("bytes")
    (out / "dangling").symlink_to("/nowhere")

    got = laptop.json("fetch", "out/*", "results", "--limit", "*.2")
    deep = laptop.json("fetch", "out/*/deep/f*", "deep", "--limit", "*.2")
    empty = laptop.fleet("fetch", "", "all")

    (report,) = got["hosts"]
    found = laptop.folder / "results" / anna.address
    assert {str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()} == {
        "b/deep/fine",
        os.fsdecode(b"caf\xe9"),
    }
    assert (report["outcome"], report["files"], got["code"]) == ("fetched in part", 2, 1)
    assert report["missed"] == ["out/dangling: no such file on the host"]
    assert (laptop.folder / "deep" / anna.address / "fine").read_text() == "fine"
    assert deep["code"] == 0
    assert (empty.returncode, (laptop.folder / "all").exists()) == (2, False)
    assert "REMOTE is empty" in empty.stderr


def test_hosts_of_like_names_are_fetched_into_folders_of_their_own() -> None:
    names = ["db 1", "db_1", "a:22", "a_22", "web", "Web", ".x", "x", "日本"]

    folders = folders_of([Host(name, "10.0.0.1") for name in names])

    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    assert (folders["db_1"], folders["a_22"], folders["x"]) == ("db_1", "a_22", "x")
    assert not [folder for folder in folders.values() if folder.startswith(".") or "/" in folder]


def test_logs_are_followed_until_ctrl_c_and_nothing_of_it_stays_on_the_hosts(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    laptop.script('echo "crunched $1"')
    assert set(laptop.outcomes("logs").values()) == {"no log yet"}
    laptop.fleet("start", *shared.flags, *STAY)
    words = ["fleet", "logs", "-f", "-n", "0", "--hosts", laptop.addresses]
    following = subprocess.Popen(
        [sys.executable, "-m", "waiter", *words], cwd=laptop.folder, env=laptop.env, stdout=subprocess.PIPE, text=True
    )
    assert following.stdout is not None
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(following.stdout or ()), daemon=True).start()
    eventually(lambda: sum("tail" in line for host in laptop.network.hosts.values() for line in host.commands()) >= 4)

    shared.load(10)
    eventually(lambda: sum("crunched" in line for line in lines) == 10)
    following.send_signal(signal.SIGINT)

    assert following.wait(60) == 130
    eventually(
        lambda: not [line for host in laptop.network.hosts.values() for line in host.commands() if "tail" in line]
    )


def test_a_reader_who_has_had_enough_is_no_hosts_fault(laptop: Laptop) -> None:
    line = f"{sys.executable} -m waiter fleet run --hosts {laptop.addresses} -- 'seq 100000' | head -n 1"

    done = laptop.type("bash", "-o", "pipefail", "-c", line)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" | 1\n")


def test_aliases_includes_and_jump_hosts_of_ssh_config_are_respected(laptop: Laptop) -> None:
    anna, ben = laptop.network.hosts["anna"], laptop.network.hosts["ben"]
    (laptop.home / ".ssh/fleet.conf").write_text(
        f"Host jump\n  HostName {anna.address}\nHost inner\n  HostName {ben.address}\n"
        "Host *\n  ProxyJump jump\nMatch final all\n  Compression no\n"  # all but the jump host itself
    )
    laptop.configure(f"Include fleet.conf\nUser root\nIdentityFile ~/.ssh/missing\nIdentityFile {laptop.network.key}\n")

    done = laptop.json("run", "--hosts", "inner", "--", 'hostname; echo "${SSH_CONNECTION%% *}"')

    assert done["hosts"][0]["stdout"] == f"ben\n{anna.address}\n"
    anna.power_off()
    failed = laptop.json("run", "--hosts", "inner", "--connect-timeout", "2", "--", "true")["hosts"][0]
    assert failed["outcome"] == "jump host"
    anna.boot()


def test_a_dry_run_connects_to_no_host_and_a_limit_leaves_hosts_out(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    for host in laptop.network.hosts.values():
        host.power_off()

    for verb in (
        ["start", *shared.flags, *STAY],
        ["stop"],
        ["push", *STAY],
        ["run", "--", "true"],
        ["status"],
        ["doctor"],
    ):
        done = laptop.fleet(verb[0], "--dry-run", "--limit", "*.2,*.3", *verb[1:])
        assert done.returncode == 0, done.stderr
        assert "2 hosts" in done.stderr

    for host in laptop.network.hosts.values():
        host.boot()


def test_tables_fit_80_columns(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true", "a-script-with-a-rather-long-name-that-goes-on-and-on.sh")
    shared.load(4)
    laptop.fleet(
        "start", *shared.flags, "--cmd", "./a-script-with-a-rather-long-name-that-goes-on-and-on.sh --x 12345678"
    )

    for verb in ("status", "doctor", "hosts", "stop"):
        flags = shared.flags if verb in ("status", "doctor") else []
        table = laptop.fleet(verb, *flags).stdout
        assert table
        assert max(map(len, table.splitlines())) <= 80, table


def test_a_flood_of_output_begins_the_log_anew_and_a_few_old_ones_stay(laptop: Laptop, shared: SharedKitchen) -> None:
    anna = laptop.network.hosts["anna"]
    laptop.script("yes 'a line of a flood' | head -c 75000000")
    shared.load(1)

    laptop.fleet(
        "start", *shared.flags, "--cmd", "./crunch.sh", "--jobs", "1", "--until", "done", "--limit", anna.address
    )

    eventually(lambda: laptop.outcomes("status", "--limit", anna.address) == {"anna": "not running"}, 60)
    logs = sorted(anna.state_folder.glob("waiter.log*"))
    assert [file.name for file in logs] == ["waiter.log", *(f"waiter.log.{number}" for number in range(1, 6))]
    assert max(file.stat().st_size for file in logs) < 11_000_000
    assert logs[0].read_text().endswith("left (done): 1 delivered, 0 failed\n")
