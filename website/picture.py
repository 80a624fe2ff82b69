"""Draw docs/live-view.svg, the picture in the README: `waiter watch` of a real run, as it stands after some seconds.

python website/picture.py [FILE]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from waiter.kitchen import open_kitchen  # noqa: E402
from waiter.report.dashboard import frame  # noqa: E402
from waiter.report.poller import Poller  # noqa: E402

WIDTH, HEIGHT = 84, 20
ORDERS, WATCHED_S = 4_000, 20.0

ALIGN = """#!/bin/sh
sleep 0.$((100 + $1 * 7 % 300))
[ $(($1 % 41)) = 0 ] && { echo "S$1.fastq.gz: truncated file" >&2; exit 3; }
[ $(($1 % 97)) = 0 ] && { echo "no index for chromosome $1" >&2; exit 1; }
[ $(($1 % 450)) = 0 ] && sleep 30
true
"""


HOST = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
"""Before a host's name and a command: the command runs where the host is called that."""


@contextmanager
def at_work(*, on_hosts: bool = False) -> Iterator[Path]:
    """The kitchen of three waiters that work on a pile; `on_hosts`: each on a host of that name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "align.sh").write_text(ALIGN)
        (Path(folder) / "align.sh").chmod(0o755)
        (Path(folder) / "samples.txt").write_text("".join(f"{n}\n" for n in range(1, ORDERS + 1)))
        words = [sys.executable, "-m", "waiter", "-k", f"{folder}/samples.sqlite"]
        subprocess.run([*words, "load", "samples.txt"], cwd=folder, check=True)
        deliver = ["deliver", "--brake", "0", "--grouping", "none", "-j8", "--until", "stopped"]
        waiters = [
            subprocess.Popen(
                [*([*HOST, name] if on_hosts else []), *words, *deliver, "-n", name, "./align.sh"], cwd=folder
            )
            for name in ("ann", "bob", "laptop")
        ]
        try:
            yield Path(folder, "samples.sqlite")
        finally:
            for waiter in waiters:
                waiter.terminate()
                waiter.wait()


def main(file: Path) -> None:
    """Run three waiters over a pile, look at them, and draw what is seen."""
    with at_work() as kitchen:
        svg = _seen(kitchen)
    file.write_text(svg)


def _seen(kitchen: Path) -> str:
    with open_kitchen(str(kitchen), create=False) as opened:
        onlooker = Poller(opened, 1.0)
        ends = time.monotonic() + WATCHED_S
        while time.monotonic() < ends:
            seen = onlooker.look()
            time.sleep(1.0)
    lines = frame(replace(seen, kitchen="samples.sqlite"), WIDTH, HEIGHT)
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=sys.stderr, force_terminal=True, highlight=False)
    console.print(Text("\n").join(Text.assemble(*line) for line in lines))
    drawn = console.export_svg(title="waiter watch", theme=MONOKAI, unique_id="waiter")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # nothing is loaded from elsewhere


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "live-view.svg")
