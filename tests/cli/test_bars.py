"""Bars on a real terminal: there, out of the way of output, and cheap."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys


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


def test_a_long_load_has_a_bar_with_what_is_left(tmp_path, home):
    (tmp_path / "many.txt").write_text("".join(f"{n}\n" for n in range(600_000)))

    seen = on_a_terminal(("load", "many.txt"), cwd=tmp_path, env=home)

    assert re.search(r"loading .*/600000 +\d:\d\d:\d\d", seen)
    assert "Loaded 600,000 orders from many.txt" in seen


def test_what_a_row_or_a_command_holds_moves_no_cursor(tmp_path, home):
    """Titles of windows, colours, answers of the terminal: escape sequences in other people's words are shown."""
    (tmp_path / "bad.txt").write_text("\x1b]0;owned\x07\x9bx\n")
    line = "echo out; echo '\x1b[31mred' > $WAITER_ERROR; exit 1"
    told = ("run", "-k", "k.sqlite", "--tag", "--input", "bad.txt", "sh", "-c", line, "sh")

    tagged = on_a_terminal(told, is_raw=True, cwd=tmp_path, env=home)
    extracted = on_a_terminal(("extract", "-k", "k.sqlite"), is_raw=True, cwd=tmp_path, env=home)

    assert "\\x1b]0;owned\\x07\\x9bx\tout\r\n" in tagged
    assert "\x1b]0" not in tagged
    assert "\x1b[31m" not in tagged
    assert "\x1b" not in extracted
    assert "\\x1b[31mred" in extracted
    piped = subprocess.run(
        [sys.executable, "-m", "waiter", "extract", "-k", "k.sqlite"], cwd=tmp_path, env=home, capture_output=True
    )
    assert b"\x1b[31mred" in piped.stdout
