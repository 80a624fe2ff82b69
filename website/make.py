"""Build the documentation as a site: `python website/make.py [FOLDER]`, or `inv docs`.

The pages of docs/ and a reference made from the program itself go into one folder, of which MkDocs makes the site.
Broken links, and pages that no menu names, are errors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from waiter.cli import cli  # noqa: E402
from waiter.cli.fleet.commands import fleet  # noqa: E402
from waiter.cli.help_groups import VERB_GROUPS  # noqa: E402
from waiter.errors import ExitCode  # noqa: E402
from waiter.orders import Reason, Status  # noqa: E402
from waiter.report.columns import COLUMNS  # noqa: E402
from website import json_fields  # noqa: E402

BUILT = ROOT / "build" / "docs"
WIDTH = 96
"""So many columns a help has on the site."""

READ: Mapping[str, str] = {
    "WAITER_KITCHEN": "The kitchen's address, where `--kitchen` says none.",
    "WAITER_KITCHEN_FILE": "A file that holds the address: for one with a password.",
    "WAITER_DB": "The name of the database, or of the default SQLite file; `--db`.",
    "WAITER_NAME": "This waiter's name; `--name`. Commands see the name of their waiter in it.",
    "WAITER_KITCHEN_FROM_HOSTS": "The kitchen's address as the hosts of a fleet reach it.",
}
"""Variables that Waiter reads."""

KEYS: Mapping[str, str] = {
    "kitchen": "The kitchen's address; `--kitchen`.",
    "db": "The name of the database, or of the default SQLite file; `--db`.",
    "name": "This waiter's name; `--name`.",
    "kitchen_from_hosts": "The kitchen's address as the hosts of a fleet reach it; `--kitchen-from-hosts`.",
    "require": "`true` refuses the default kitchen where none is named; `--require-kitchen`.",
    "[deliver]": "Defaults of `waiter deliver` and `waiter run`: see below.",
    "[fleet]": "Defaults of `waiter fleet`: see below.",
    "[prices]": "What machines cost an hour, in dollars, by instance type; `spot.TYPE` as spot.",
}
"""The keys of waiter.toml."""

SEEN: Mapping[str, str] = {
    "WAITER_ORDER": "The order's id.",
    "WAITER_ATTEMPT": "Which attempt at it this is, from 1.",
    "WAITER_SLOT": "The slot that runs it, 1 to J: to pick a GPU or a port by.",
    "WAITER_GPU": "The GPUs that it was granted with `--needs gpu=…`: ids, as in `CUDA_VISIBLE_DEVICES`.",
    "WAITER_MEMORY": "The memory that it was granted, in bytes.",
    "WAITER_CPUS": "The CPUs that it was granted.",
    "WAITER_RESULT": "A file: what the command writes there is the order's result, a column of `extract`.",
    "WAITER_ERROR": "A file: what the command writes there says why it failed, in `errors` and `orders`.",
}
"""Variables that a command sees, besides its own environment."""

HOOKS: Mapping[str, str] = {
    "WAITER_ORDER": "The order's id.",
    "WAITER_ATTEMPT": "Which attempt ended.",
    "WAITER_BATCH": "The order's batch.",
    "WAITER_STATUS": "DONE, ERROR, or READY where it is to be tried again.",
    "WAITER_ARGUMENTS": "The arguments as a JSON list.",
    "WAITER_REASON": "Why it did not end well: " + ", ".join(Reason) + ".",
    "WAITER_EXIT_CODE": "The command's exit code.",
    "WAITER_SIGNAL": "The signal that ended it.",
    "WAITER_SECONDS": "How long it took.",
    "WAITER_ERROR_TEXT": "Why it failed, in one line.",
    "WAITER_RESULT_TEXT": "What the command wrote to `$WAITER_RESULT`.",
}
"""Variables that the lines of `--on-done` and `--on-error` see; what does not apply is not set."""

TOLD: Mapping[str, str] = {
    "WAITER_TEXT": "One sentence.",
    "WAITER_EXIT_CODE": "What `waiter wait` would end with.",
    "WAITER_REPORT": "The path of the report that `--report` wrote.",
    "WAITER_LINK": "The address that `--link` gave.",
    "WAITER_BATCH": "The batch that was waited for.",
    "WAITER_TOTAL": "How many orders there are.",
    "WAITER_COUNT_DONE": "How many are DONE; the same for READY, RUNNING, ERROR and CANCELLED.",
    "WAITER_KITCHEN_URL": "The kitchen's address, without a password.",
}
"""Variables that the command of `notify` and `--notify` sees."""

FIELDS: Mapping[str, str] = {
    "_id": "The order's id: its batch and row.",
    "status": "READY, RUNNING, DONE, ERROR or CANCELLED.",
    "waiter": "Who has it, or had it last.",
    "start": "When the last attempt began (ISO 8601, UTC).",
    "stop": "When it ended.",
    "arguments": "The arguments: a list in JSON, and as JSON in a cell of CSV.",
    "error": "Why it failed, in one line.",
    "batch": "The batch's id.",
    "row": "The row of the input, from 1.",
    "priority": "Higher goes first.",
    "attempt": "How often it was begun.",
    "failures": "How often it failed since it was loaded or reset.",
    "losses": "How many waiters died while they ran it.",
    "due": "Not before this time: it is to be tried again.",
    "host": "The host of its waiter.",
    "exit_code": "The command's exit code.",
    "signal": "The signal that ended the command.",
    "reason": "Why the attempt did not end well: " + ", ".join(Reason) + ".",
    "error_group": "The group of `waiter errors` that it belongs to.",
    "duration": "Seconds that the last attempt took.",
    "peak_memory": "Bytes of memory that the command had at most.",
    "command": "Which version of the command delivered it: a hash of its words and files.",
    "result": "What the command wrote to `$WAITER_RESULT`, or what the function returned.",
    "tail": "The end of its output.",
}
"""The columns of orders."""


def main(site: Path, pages: Path = ROOT / "docs") -> int:
    """Write the pages and build the site into the folder. Returns the exit code: 1 where a link leads nowhere."""
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(pages, BUILT)
    for page in BUILT.glob("*.md"):
        lines = page.read_text().splitlines()  # GitHub wants a pipe in a table's code escaped, MkDocs shows the escape
        page.write_text("\n".join(line.replace("\\|", "|") if line.startswith("|") else line for line in lines) + "\n")
    (BUILT / "reference").mkdir()
    for name, text in reference().items():
        (BUILT / "reference" / f"{name}.md").write_text(text)
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site.absolute())]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def reference() -> dict[str, str]:
    """The pages that are made from the program, by their names."""
    return {
        "command-line": _page("Command line", _verbs()),
        "fleet": _page("Fleet", _fleet_verbs()),
        "settings": _page("Settings and variables", _settings()),
        "exit-codes": _page("Exit codes", _exit_codes()),
        "orders": _page("Orders as JSON and CSV", _orders()),
        "json": _page("Fields of --json", json_fields.page()),
    }


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", *lines, ""])


def _verbs() -> Iterator[str]:
    yield from ("What `waiter --help` and `waiter VERB --help` say.", "")
    yield from _help(cli, "waiter")
    for heading, verbs in VERB_GROUPS.items():
        yield from (f"## {heading}", "")
        for verb in verbs:
            command = cli.get_command(click.Context(cli), verb)
            if command is not None and command is not fleet:
                yield from (f"### waiter {verb}", "")
                yield from _help(command, f"waiter {verb}")


def _fleet_verbs() -> Iterator[str]:
    yield from (
        "`waiter fleet VERB` and `fab fleet.VERB` are the same: with `fab`, a flag's value stands behind `=`.",
        "",
    )
    for verb, command in sorted(fleet.commands.items()):
        yield from (f"## waiter fleet {verb}", "")
        yield from _help(command, f"waiter fleet {verb}")


def _help(command: click.Command, called: str) -> Iterator[str]:
    context = click.Context(command, info_name=called, max_content_width=WIDTH, terminal_width=WIDTH)
    yield from ("```text", command.get_help(context), "```", "")


def _settings() -> Iterator[str]:
    yield from (
        "A flag goes before a variable, a variable before `waiter.toml` of this folder, that before `waiter.toml` in "
        "`~/.config/waiter`, and that before the default; key by key.",
        "",
        "## waiter.toml",
        "",
        "| key | what it says |",
        "|---|---|",
    )
    yield from (f"| `{name}` | {words} |" for name, words in KEYS.items())
    deliver = cli.get_command(click.Context(cli), "deliver")
    assert deliver is not None
    hidden = {"kitchen", "db", "name", "require-kitchen", "dry-run", "help", "json", "cmd", "own-commands"}
    yield from (
        "",
        "### [deliver]",
        "",
        "The long flags of `waiter deliver`, which `run` and a fleet's waiters heed too.",
        "",
    )
    yield from _flags([deliver], hidden)
    yield from ("", "### [fleet]", "", "The long flags of the verbs of `waiter fleet`, and those of `[deliver]`.", "")
    of_deliver = {name for option in deliver.params for name in option.opts} - {"--tag", "--grace"}
    yield from _flags(fleet.commands.values(), (hidden - {"cmd"}) | {name.removeprefix("--") for name in of_deliver})
    for title, table in (
        ("Variables that Waiter reads", READ),
        ("Variables that commands see", SEEN),
        ("Variables that --on-done and --on-error see", HOOKS),
        ("Variables that notifications see", TOLD),
    ):
        yield from ("", f"## {title}", "", "| variable | what it says |", "|---|---|")
        yield from (f"| `{name}` | {what} |" for name, what in table.items())


def _flags(commands: Iterable[click.Command], hidden: Set[str]) -> Iterator[str]:
    """The options of these verbs as keys, each once; of a range only the words."""
    rows: dict[str, str] = {}
    for option in chain.from_iterable(command.params for command in commands):
        name = max(option.opts, key=len).removeprefix("--")
        if isinstance(option, click.Option) and option.help and not option.hidden and name not in hidden:
            rows.setdefault(name, option.help.replace("|", "&#124;"))
    yield from ("| key | what it says |", "|---|---|")
    yield from (f"| `{name}` | {words} |" for name, words in rows.items())


def _exit_codes() -> Iterator[str]:
    yield from ("Every command of Waiter ends with one of these.", "", "| code | when |", "|---|---|")
    yield from (f"| {code.value} | {code.words} |" for code in ExitCode)


def _orders() -> Iterator[str]:
    yield from (
        "The columns of `waiter extract`, and the keys of `waiter orders --json`. `--columns` names some of them, "
        "arguments by their names or positions, and keys of results: `--columns _id,sample_id,result.mapped`.",
        "",
        "| column | what it is |",
        "|---|---|",
    )
    yield from (f"| `{name}` | {FIELDS[name]} |" for name in COLUMNS)
    yield from ("", "Statuses: " + ", ".join(f"`{status}`" for status in Status) + ".")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site")))
