"""Where the commands of a page are typed: a folder, a home and a shell's variables that live as long as the page."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import said_on_any_machine
from tests.docs.matching import Ids, is_alike, masked
from tests.docs.page import ROOT, Block, Step

COMMAND_S = 40.0
"""How long a command may take."""

CTRL_C = "^C"

_TYPED = """\
cd "$(cat {state}/folder)"; . {state}/variables
{command}
code=$?; export -p > {state}/variables; pwd > {state}/folder; exit $code
"""

_SLEEP = """\
#!/bin/sh
exec {python} -I -S -c 'import sys, time; time.sleep(float(sys.argv[1]) * {pace})' "$1"
"""


@dataclass
class Sandbox:
    """A folder to type in. `names`: what is called otherwise in the docs, there → here."""

    root: Path
    names: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    pace: float = 0.1  # how long the commands' `sleep 1` takes
    settles_s: float = COMMAND_S  # how long what is shown of other processes may differ from what is written
    ids: Ids = field(default_factory=Ids)
    _begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("home", "work", "state", "bin"):
            (self.root / name).mkdir(exist_ok=True)
        own = self.root / "home/.config/waiter"
        own.mkdir(parents=True, exist_ok=True)  # what is typed here goes to a file, and is to look as on a terminal
        (own / "waiter.toml").write_text('[deliver]\nlog-format = "plain"\n')
        for program in ("waiter", "fab", "invoke", "inv"):
            (self.root / "bin" / program).symlink_to(Path(sys.executable).with_name(program))
        if self.pace != 1:
            sleep = self.root / "bin/sleep"
            sleep.write_text(_SLEEP.format(python=shlex.quote(sys.executable), pace=self.pace))
            sleep.chmod(0o755)
        python = self.root / "bin/python"  # no link: by its own path it finds what is installed
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        (self.root / "state/folder").write_text(str(self.work))
        (self.root / "state/variables").touch()

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def env(self) -> dict[str, str]:
        strange = ("WAITER_", "XDG_", "PYTEST", "AWS_", "SSH_", "COV")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
        path = f"{self.root}/bin:{os.environ['PATH']}"
        own = {"HOME": str(self.root / "home"), "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TZ": "UTC"}
        return {**kept, **own, "LC_ALL": "C.UTF-8", "TERM": "xterm", "NO_COLOR": "1", **self.variables}

    def close(self) -> None:
        """End what was begun here and still runs."""
        for process in self._begun:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()

    def here(self, text: str) -> str:
        """The docs' text with this place's names and ids."""
        for there, here in self.names.items():
            text = text.replace(there, here)
        text = re.sub(r"\blaptop/(?=\d)", f"{socket.gethostname()}/", self.ids.put_in(text))
        return text.replace("--host laptop", f"--host {socket.gethostname()}")

    def there(self, text: str) -> str:
        """What was said here, in the docs' names."""
        for there, here in self.names.items():
            text = text.replace(here, there)
        text = text.replace(str(self.root / "home"), "~").replace(str(self.work), "~/work")
        return re.sub(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w-])", "laptop", text)

    def said(self, step: Step, block: Block) -> list[str]:
        """What the step's command says now, repeated until it is what is written if the block allows for that."""
        ends = time.monotonic() + self.settles_s
        while True:
            lines = self._screen(step) if "screen" in block.marks else self._typed(step)
            is_final = "eventually" not in block.marks or time.monotonic() > ends
            if is_final or self.is_as_written(lines, step, block):
                return lines
            time.sleep(0.1)

    def is_as_written(self, lines: Sequence[str], step: Step, block: Block) -> bool:
        return is_alike(lines, step.output, self.ids, any_order="any order" in block.marks)

    def run_python(self, block: Block, number: int) -> list[str]:
        """What a Python program says."""
        name = f"example{number}.py"
        (self.work / name).write_text(self.here("\n".join(block.text)) + "\n")
        return self._typed(Step(f"python {name}"))

    def _typed(self, step: Step) -> list[str]:
        """Run it in a shell; where `^C` is written, it is pressed when all before it was said."""
        file = self.root / "said"
        script = _TYPED.format(state=shlex.quote(str(self.root / "state")), command=self.here(step.command))
        with file.open("wb") as said:
            process = subprocess.Popen(
                ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self.env,
                start_new_session=True,
            )  # fmt: skip
        self._begun.append(process)
        pressed_at = [self._press(process, file, step, number) for number in self._presses(step)]
        try:
            process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"$ {step.command}: no end in sight: {file.read_text()}") from None
        text = file.read_text(errors="surrogateescape")
        for size in reversed(pressed_at):
            text = f"{text[:size]}{CTRL_C}{text[size:]}"
        return self._heard(text)

    def _heard(self, text: str) -> list[str]:
        return said_on_any_machine(self.there(text)).splitlines()

    @staticmethod
    def _presses(step: Step) -> list[int]:
        return [number for number, line in enumerate(step.output) if line.startswith(CTRL_C)]

    def _press(self, process: subprocess.Popen[bytes], file: Path, step: Step, number: int) -> int:
        """Wait until what is written before this line was said, then interrupt; how much was said until then."""
        before = [line.removeprefix(CTRL_C) for line in step.output[:number]]
        ends = time.monotonic() + COMMAND_S
        while True:
            text = file.read_text(errors="surrogateescape")
            lines = self._heard(text)
            if [masked(line) for line in lines] == [masked(line) for line in before]:
                os.killpg(process.pid, signal.SIGINT)
                return len(text)
            assert time.monotonic() < ends, f"$ {step.command}: not said before Ctrl-C: {before}, but: {lines}"
            assert process.poll() is None, f"$ {step.command}: it ended before Ctrl-C: {lines}"
            time.sleep(0.01)

    def _screen(self, step: Step) -> list[str]:
        """The last screen of a program on a terminal, when it is as written, or has stood for a while."""
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = {key: value for key, value in self.env.items() if key != "COLUMNS"}
        process = subprocess.Popen(
            ["bash", "-c", _TYPED.format(state=shlex.quote(str(self.root / "state")), command=self.here(step.command))],
            stdin=terminal, stdout=terminal, stderr=terminal, env=env, start_new_session=True,
        )  # fmt: skip
        self._begun.append(process)
        os.close(terminal)
        written, lines, ends = "", [""], time.monotonic() + self.settles_s
        while time.monotonic() < ends and not (step.output and is_alike(lines, step.output, self.ids)):
            if select.select([controller], [], [], 0.1)[0]:
                written += os.read(controller, 65536).decode(errors="replace")
                lines = self.there(_last_screen(written)).splitlines()
        os.write(controller, b"q")
        while process.poll() is None:  # what it still writes is read: else it would wait for that
            if select.select([controller], [], [], 0.1)[0]:
                try:
                    os.read(controller, 65536)
                except OSError:  # the terminal's other side is closed
                    break
        process.wait(COMMAND_S)
        os.close(controller)
        return lines


def _last_screen(written: str) -> str:
    """What stands on the screen: what came after the last complete jump to its corner."""
    frames = re.split(r"\x1b\[H", written)
    frame = frames[-1] if len(frames[-1].splitlines()) > 5 else frames[-2] if len(frames) > 1 else ""
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", frame).splitlines()]
    return "\n".join(lines).rstrip()
