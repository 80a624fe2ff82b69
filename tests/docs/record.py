"""`python -m tests.docs.record [--all] [PAGE…]`: run the docs' commands and write what they say now where it stands.

What is alike but for times, rates and ids stays as it is, unless --all is said. Read the difference before you commit.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.conftest import needed_binary
from tests.docs.environments import fleet, machine
from tests.docs.matching import ANY, folded
from tests.docs.page import PAGES, rewrite
from tests.docs.running import parts, run
from tests.docs.sandbox import Sandbox

SETTLES_S = 15.0
"""How long what other processes do may take to become what is written; then what it is now is written."""


def record(page: Path, sandbox: Sandbox, *, is_fleet: bool, is_all: bool) -> None:
    """Write the page's outputs anew, in one of its environments."""
    texts: dict[int, list[str]] = defaultdict(list)
    sandbox.settles_s = SETTLES_S
    for block, step, said in run(page, sandbox, fleet=is_fleet):
        if block.language == "python":
            print("  ", step.command, *said, sep="\n      ", flush=True)  # what is said stands in another block
            continue
        is_as_written = sandbox.is_as_written(said, step, block)
        print("  " if is_as_written else "* ", step.command.splitlines()[0], flush=True)
        is_kept = is_as_written and (not is_all or ANY in step.output)
        texts[block.at] += step.lines if is_kept else [*step.lines[: len(step.lines) - len(step.output)], *folded(said)]
        if block.language == "sh":
            del texts[block.at]
    rewrite(page, texts)


def main(words: list[str]) -> None:
    is_all = "--all" in words
    names = [word for word in words if word != "--all"]
    pages = [page for page in PAGES if not names or page.name in names]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for page in pages:
            if parts(page, fleet=False):
                with machine(1.0, binary=needed_binary() if page.name == "mongodb.md" else None) as sandbox:
                    record(page, sandbox, is_fleet=False, is_all=is_all)
        if any(parts(page, fleet=True) for page in pages):
            with fleet(Path(folder), needed_binary()) as environment:
                for page in pages:
                    with environment.laptop(f"{page.stem}-fleet") as sandbox:
                        record(page, sandbox, is_fleet=True, is_all=is_all)


if __name__ == "__main__":
    main(sys.argv[1:])
