"""Bars on a real terminal: there, out of the way of output, and cheap."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys

from tests.conftest import eventually
from waiter.cli import progress


def on_a_terminal(arguments, *, is_raw=False, **more):
    """All that `waiter` writes to a terminal; unless raw, without the sequences that colour it and move the cursor."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "waiter", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, **more)
    os.close(terminal)
    written = b""
    try:
        while some := os.read(controller, 65536):
            written += some
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    finally:
        os.close(controller)
        process.kill()
        process.wait()
    return written.decode() if is_raw else re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


def test_a_bar_leaves_output_whole_and_is_not_drawn_again_for_each_line(tmp_path, home):
    (tmp_path / "many.txt").write_text("".join(f"{n}\n" for n in range(300)))
    line = 'printf "<out%s>" "$1"; [ $1 -lt 290 ] || sleep 0.3'

    seen = on_a_terminal(("run", "-j4", "--input", "many.txt", "sh", "-c", line, "sh"), cwd=tmp_path, env=home)

    assert sorted(map(int, re.findall(r"<out(\d+)>", seen))) == list(range(300))
    assert not re.search(r"<out\d+>\r[^\n]", seen), "output was drawn over"
    assert 1 < seen.count("/300") < 150
    assert re.search(r"\n\r*300 orders delivered", seen)  # on a line of its own


def test_a_bar_tells_how_far_how_fast_and_how_long_within_80_columns(tmp_path, home):
    (tmp_path / "many.txt").write_text("".join(f"{n}\n" for n in range(60)))
    line = "sleep 0.05; [ $1 -gt 1 ] # and arguments that are long"

    seen = on_a_terminal(("run", "--input", "many.txt", "sh", "-c", line, "sh"), cwd=tmp_path, env=home)

    whole = r"━ +\d+/60 +\d+ % +2 failed +[\d.]+/s +0:00:0\d elapsed +0:00:0\d left"
    assert re.search(whole, seen)
    assert max(len(part) for part in re.split(r"[\r\n]", seen) if "left" in part) <= 80


def test_a_long_load_has_a_bar_with_what_is_left(tmp_path, home):
    (tmp_path / "many.txt").write_text("".join(f"{n}\n" for n in range(600_000)))

    seen = on_a_terminal(("load", "many.txt"), cwd=tmp_path, env=home)

    assert re.search(r"loading .*/600000 +\d+ % +[\d.,]+/s +\d:\d\d:\d\d elapsed +\d:\d\d:\d\d left", seen)
    assert "Loaded 600,000 orders from many.txt" in seen


def test_without_a_terminal_a_long_change_says_now_and_then_how_far_it_is(monkeypatch, capsys):
    with progress.changing("Deleting", 9000) as told:
        told(1000)
        monkeypatch.setattr(progress, "SAID_EVERY_S", 0.0)
        told(4000)

    assert capsys.readouterr().err == "Deleting: 5,000 of 9,000 orders so far.\n"


def test_what_a_row_or_a_command_holds_moves_no_cursor(tmp_path, home):
    """Titles of windows, colours, answers of the terminal: escape sequences in other people's words are shown."""
    (tmp_path / "bad.txt").write_text("\x1b]0;owned\x07\x9bx\n")
    line = "echo out; echo '\x1b[31mred' > $WAITER_ERROR; exit 1"
    told = ("run", "-k", "k.sqlite", "--tag", "--input", "bad.txt", "sh", "-c", line, "sh")

    tagged = on_a_terminal(told, is_raw=True, cwd=tmp_path, env=home)
    extracted = on_a_terminal(("extract", "-k", "k.sqlite"), is_raw=True, cwd=tmp_path, env=home)

    assert "\\x1b]0;owned\\x07\\x9bx\tout\r\n" in tagged
    assert "\x1b]0" not in tagged
    assert "\x1b[31mred" not in tagged  # the bar is red itself where something failed
    assert "\x1b" not in extracted
    assert "\\x1b[31mred" in extracted
    piped = subprocess.run(
        [sys.executable, "-m", "waiter", "extract", "-k", "k.sqlite"], cwd=tmp_path, env=home, capture_output=True
    )
    assert b"\x1b[31mred" in piped.stdout


def test_a_terminal_that_cannot_draw_gets_lines_and_no_empty_ones(tmp_path, home):
    home["TERM"] = "dumb"
    (tmp_path / "few.txt").write_text("1\n2\n3\n")

    seen = on_a_terminal(("run", "--input", "few.txt", "sh", "-c", "sleep 0.2; echo $1", "sh"), cwd=tmp_path, env=home)

    assert seen.split("\r\n")[1:4] == ["1", "2", "3"]
    assert "\r\n\r\n" not in seen


class Terminal:
    """`waiter` on a terminal, with somebody at the keyboard."""

    def __init__(self, *arguments, **more):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(more["cwd"])
            os.execve(sys.executable, [sys.executable, "-m", "waiter", *arguments], more["env"])
        self.seen = ""

    def type(self, text):
        os.write(self._fd, text.encode())

    def shows(self, text):
        """Whether it has shown this by now."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                self.seen += os.read(self._fd, 65536).decode()
            except OSError:  # it has ended
                break
        return text in self.seen

    def end(self):
        """Its exit code, and all that it has shown."""
        eventually(lambda: self.shows("\0") or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        self.shows("\0")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.seen


def test_inputs_are_typed_and_ended_with_one_ctrl_d(tmp_path, home):
    terminal = Terminal("run", "echo", "got", cwd=tmp_path, env=home)
    eventually(lambda: terminal.shows("Type the inputs, each on a line of its own; Ctrl-D ends them."))
    terminal.type("a\nb\n\4")

    code, seen = terminal.end()

    assert code == 0
    assert sorted(re.findall(r"got (\w)\r\n", seen)) == ["a", "b"]  # the bar may come between them


def test_the_cursor_stays_whatever_ends_a_run(tmp_path, home):
    (tmp_path / "few.txt").write_text("1\n2\n")
    line = ("sh", "-c", "trap '' INT TERM; touch begun; sleep 60", "sh")
    terminal = Terminal("run", "--input", "few.txt", *line, cwd=tmp_path, env=home)
    eventually((tmp_path / "begun").exists)
    terminal.type("\3")
    eventually(lambda: terminal.shows("Draining"))
    terminal.type("\3")
    eventually(lambda: terminal.shows("Stopping running commands"))
    terminal.type("\3")

    code, seen = terminal.end()

    assert code == 130
    assert seen.count("\x1b[?25l") <= seen.count("\x1b[?25h")


def test_a_pipe_that_does_not_end_is_told_of(tmp_path, home):
    run = subprocess.Popen(
        [sys.executable, "-m", "waiter", "run", "echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=home,
    )
    run.stdin.write(b"1\n")
    run.stdin.flush()

    assert run.stderr.readline() == b"Reading stdin until it ends; nothing starts before that.\n"
    assert run.communicate(timeout=60)[0] == b"1\n"
