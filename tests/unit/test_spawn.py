"""Both ways in which the runner starts a command promise the same."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from waiter.delivery.runner import spawn

ROOT = Path(spawn.__file__).parents[3]
WAYS = ("spawner", "by_posix_spawn")

BEGIN = """
import errno, json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from waiter.delivery.runner import spawn
from waiter.delivery.runner.signals import leave_signals_to_the_waiter
way = getattr(spawn, sys.argv[2])
null = os.open(os.devnull, os.O_RDWR)
"""


def said(way: str, script: str, *words: str, **options: Any) -> Any:
    """What the script says, run by a fresh Python that has no other children."""
    line = [sys.executable, "-I", "-S", "-c", BEGIN + script, str(ROOT), way, *words]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True, **options).stdout)


@pytest.mark.parametrize("way", WAYS)
def test_a_command_gets_its_words_variables_streams_and_a_session(way):
    reads, writes = os.pipe()
    errors_read, errors = os.pipe()
    given = os.memfd_create("stdin")
    os.write(given, b"from stdin")
    os.lseek(given, 0, os.SEEK_SET)
    script = 'read line; echo "$0 $1|$A|$line|$(cut -d" " -f1,6 /proc/$$/stat)"; echo wrong >&2; exit 7'
    start = getattr(spawn, way)("/bin/sh", [])
    path = b"PATH=" + os.fsencode(os.environ["PATH"])
    pid = start(["sh", "-c", script, "zero", "\udcff"], [path, b"A=\xfe=="], (given, writes, errors))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    words, variable, line, session = os.read(reads, 1000).rstrip().split(b"|")
    assert (words, variable, line) == (b"zero \xff", b"\xfe==", b"from stdin")
    assert session.split() == [b"%d" % pid] * 2
    assert os.read(errors_read, 1000) == b"wrong\n"
    for descriptor in (reads, writes, errors_read, errors, given):
        os.close(descriptor)


@pytest.mark.parametrize("way", WAYS)
def test_a_command_has_no_other_descriptors(way):
    script = """
reads, writes = os.pipe()
pid = way("/bin/ls", [])(["ls", "/proc/self/fd"], [], (null, writes, null))
os.waitpid(pid, 0)
print(json.dumps(os.read(reads, 1000).decode().split()))
"""
    assert said(way, script) == ["0", "1", "2", "3"]  # and that of the folder which it reads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [(), (signal.SIGHUP,), (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)], ids=str)
def test_a_command_ignores_what_the_waiter_was_given_and_nothing_else(way, given):
    script = """
defaulted = leave_signals_to_the_waiter()
for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
    os.kill(os.getpid(), number)
reads, writes = os.pipe()
os.waitpid(way("/bin/cat", defaulted)(["cat", "/proc/self/status"], [], (null, writes, null)), 0)
print(json.dumps(dict(line.split(":", 1) for line in os.read(reads, 1 << 16).decode().splitlines())))
"""

    def ignore() -> None:
        for number in given:
            signal.signal(number, signal.SIG_IGN)

    facts = said(way, script, preexec_fn=ignore)
    ignored = int(facts["SigIgn"], 16)  # 32 and 33 as well: the C library's own
    assert {number for number in signal.valid_signals() if ignored >> number - 1 & 1} == set(given)
    assert int(facts["SigBlk"], 16) == int(facts["SigCgt"], 16) == 0


TRIED_THREE_TIMES = """
start, good = way(sys.argv[3], []), way("/bin/true", [])
words, numbers = json.load(sys.stdin), []
for _ in range(3):
    try:
        start(["one", *words], [], (null, null, null))
    except OSError as error:
        numbers.append(error.errno)
    try:
        numbers.append(["a child", os.waitpid(-1, 0)])
    except ChildProcessError:
        pass
pid = good(["true"], [], (null, null, null))
print(json.dumps([numbers, os.waitpid(pid, 0)[1]]))
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("program", "words", "number"),
    [
        ("/no/such/program", [], errno.ENOENT),
        ("/etc", [], errno.EACCES),
        ("/bin/true", ["x" * (1 << 20)], errno.E2BIG),
        ("nonsense", [], errno.ENOEXEC),
    ],
    ids=["no file", "no program", "a word too long", "no format"],
)
def test_what_cannot_be_started_is_said_leaves_no_child_and_hinders_no_other(way, program, words, number, tmp_path):
    (nonsense := tmp_path / "nonsense").write_bytes(b"\x00\x01")
    nonsense.chmod(0o755)
    numbers = said(way, TRIED_THREE_TIMES, str(tmp_path / program), input=json.dumps(words))
    assert numbers == [[number] * 3, 0]


def told_of_no_error(*_):
    return os.posix_spawn("/bin/true", ["true"], {})


@pytest.mark.parametrize("other", [lambda: None, told_of_no_error], ids=["other arguments", "an error told too late"])
def test_a_python_that_is_not_as_known_starts_commands_all_the_same(monkeypatch, other):
    import _posixsubprocess

    monkeypatch.setattr(_posixsubprocess, "fork_exec", other)
    null = os.open(os.devnull, os.O_RDWR)
    pid = spawn.spawner("/bin/sh", [])(["sh", "-c", "exit $A"], [b"A=3"], (null, null, null))
    os.close(null)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_the_fast_way_is_taken_where_it_is_known():
    assert isinstance(spawn.spawner("/bin/true", []), spawn._Forked) == (sys.version_info < (3, 15))
