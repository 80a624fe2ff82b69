"""Holds the house to its plan: who may import whom, what a command loads when it starts, and how long things are."""

from __future__ import annotations

import ast
import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from waiter.cli import VERBS, cli, verb_module
from waiter.delivery.runner.boot import BOOT, PYTHON_FLAGS
from waiter.fleet.zipapp import ROOMS

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "waiter"

LONGEST_ROOM = 400
LONGEST_FUNCTION = 40
LARGEST_FILE = 500_000  # bytes
TOP_LEVEL = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("benchmarks", "docs", "fabfile.py", "hatch_build.py", "mkdocs.yml", "pyproject.toml", "tasks.py", "tests"),
    *("waiter", "website"),
}
REASON = "Long because"
"""How the docstring of what is longer begins the sentence that says why."""

# room → what else of ours it may import. A room is a module or a package of `waiter`; a name with a dot is that one
# module of a room and no other. What is missing here (cli, tasks, api, the package itself) may import everything.
MAY_IMPORT = {
    "errors": set(),
    "typed_arguments": set(),
    "orders": {"errors", "typed_arguments"},
    "hashing": set(),
    "late_modules": set(),
    "light_dataclass": set(),
    "limits": set(),
    "needs": {"errors"},
    "failure_groups": {"orders", "hashing"},
    "durations": {"errors"},
    "user_dirs": {"errors"},
    "atomic_write": {"errors"},
    "processes": set(),
    "settings": {"errors", "user_dirs", "kitchen.DEFAULT_DB"},
    "intake": {"errors", "needs", "typed_arguments", "limits", "orders", "kitchen.open_files"},
    "kitchen": {"errors", "typed_arguments", "orders", "failure_groups", "processes", "user_dirs"},
    "known": {"orders", "kitchen.contract", "kitchen.stages"},
    "matching": {"errors", "orders", "intake", "known", "kitchen.contract"},
    "row_numbers": {"orders", "intake", "kitchen.contract"},
    "loading": {"errors", "orders", "intake", "known", "kitchen.contract", "kitchen.stages", "matching", "row_numbers"},
    "testing": {"orders", "user_dirs", "loading", "kitchen.contract", "kitchen.open_kitchen", "delivery.listener"},
    "delivery": {
        "errors",
        "limits",
        "needs",
        "orders",
        "failure_groups",
        "hashing",
        "durations",
        "user_dirs",
        "kitchen.contract",
        "kitchen.absolute",
        "kitchen.kind_of",
        "processes",
        "kitchen.open_files",
        "kitchen.open_kitchen",
        "kitchen.selecting",
        "kitchen.stages",
    },
    "runs": {"errors", "orders", "delivery.batch_scope", "delivery.options", "intake", "kitchen", "user_dirs"},
    "reconciling": {"errors", "orders", "intake", "known", "kitchen.contract", "loading", "matching"},
    "past_runs": {"errors", "orders", "kitchen", "runs"},
    "machines": {"errors", "kitchen.contract"},
    "report": {
        "errors",
        "orders",
        "durations",
        "atomic_write",
        "delivery.command",
        "kitchen.contract",
        "kitchen.stages",
        "machines",  # those that there are, and were
    },
    "notify": {"errors", "orders", "delivery.command", "delivery.environment", "kitchen.contract", "report"},
    "web": {"errors", "orders", "durations", "kitchen.contract", "report"},
    "fleet": {
        "errors",
        "orders",
        "durations",
        "user_dirs",
        "report.capacity",  # what hosts do, for how many there are to be
        "report.cost",
        "report.formatting",
        "kitchen.contract",
        "machines",
        "kitchen.host_packages",
        "processes",
        "delivery.function_names",
        "host.REPLY_MARK",
    },
    "host": {"processes", "errors", "orders", "durations", "delivery", "kitchen"},
}
FOR_ALL = {"__version__", "light_dataclass"}
MAY_IMPORT_ALL = {"waiter", "__main__", "api", "cli", "tasks"}

# Modules that may import more than their room.
EXCEPTIONS = {"fleet.tasks": {"cli", "tasks"}}

# The API reads [deliver] of waiter.toml as the command line does.
MAY_IMPORT_CLI = {"__main__", "api", "tasks", "fleet.tasks"}

# A library → the only modules that may know it (a module, or a room with everything in it).
HOMES = {
    "pymongo": ("kitchen.mongo",),
    "bson": ("kitchen.mongo",),
    "fabric": ("fleet.ssh",),
    "paramiko": ("fleet.ssh",),
    "boto3": ("fleet.aws",),
    "botocore": ("fleet.aws",),
    "rich": ("cli.",),
    "click": ("cli.", "tasks"),
    "invoke": ("tasks", "fleet.tasks", "cli.commands.init"),
    "pyarrow": ("report.writers.parquet",),
    "openpyxl": ("intake.workbook",),
    "starlette": ("web.",),
    "uvicorn": ("web.server", "web.connections"),
    "jinja2": ("web.rendering",),
    "prometheus_client": ("web.metrics",),
}

# What a remote host runs: it has Python and PyMongo and nothing else.
REMOTE = {name.removesuffix(".py") for name in ROOMS} - {"__init__"}


# What the runner's and the guard's process is made of, and the light modules that it may import.
LIGHT_NAMES = (
    "boot",
    "connection",
    "containment",
    "descriptors",
    "event_buffer",
    "folder",
    "forked_workers",
    "guard",
    "last_guard",
    "memory",
    "memory_groups",
    "main",
    "messages",
    "orphans",
    "output_files",
    "process",
    "signals",
    "slot",
    "slot_mark",
    "spawn",
    "start_errors",
    "workers",
)
RUNNER_ROOMS = {f"delivery.runner.{name}" for name in LIGHT_NAMES}
LIGHT_ROOMS = {"light_dataclass", "limits", "processes"} | RUNNER_ROOMS
LIGHT = {
    "__future__",
    "_posixsubprocess",
    "array",
    "binascii",
    "collections",
    "contextlib",
    "ctypes",
    "errno",
    "fcntl",
    "functools",
    "marshal",
    "math",
    "operator",
}
AT_NEED = {"light_dataclass": {"dataclasses", "inspect"}}
LIGHT |= {"json", "mmap", "os", "resource", "select", "signal", "socket", "stat", "struct", "sys", "time", "typing"}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Every module of ours by its name without `waiter.`, as `kitchen.mongo`; a package by its own name."""
    return [(_name(path), ast.parse(path.read_text(), str(path))) for path in sorted(HOUSE.rglob("*.py"))]


def _name(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "waiter"


@cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    """Everything that the module imports, wherever it does, by its full name; `from a import b` is `a.b`."""
    return tuple(_imports(tree))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def of_ours(tree: ast.Module) -> Iterator[str]:
    """What the module imports of ours, without `waiter.`."""
    return (name.removeprefix("waiter.") for name in imports(tree) if name.startswith("waiter."))


def room(module: str) -> str:
    return module.partition(".")[0]


def is_allowed(imported: str, importer: str) -> bool:
    allowed = MAY_IMPORT[room(importer)] | EXCEPTIONS.get(importer, set()) | {room(importer), *FOR_ALL}
    return any(imported == name or imported.startswith(f"{name}.") for name in allowed)


def carried() -> list[Path]:
    """The files of the project: what git tracks or, where it is no checkout, what lies there and is not ignored."""
    if (ROOT / ".git").exists():
        words = ["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
        listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    tops = [path for path in ROOT.iterdir() if not any(path.match(pattern) for pattern in ignored)]
    return [path for top in tops for path in (top, *top.rglob("*")) if path.is_file()]


def test_a_clone_holds_what_the_project_needs_and_no_more():
    files = carried()

    assert {file.relative_to(ROOT).parts[0] for file in files} <= TOP_LEVEL, "say in TOP_LEVEL what is new"
    assert [str(file) for file in files if file.stat().st_size > LARGEST_FILE] == []


def test_every_room_has_its_place_in_the_plan():
    rooms = {room(name) for name, _ in modules()}

    assert rooms <= set(MAY_IMPORT) | MAY_IMPORT_ALL, "say in MAY_IMPORT what the new room may import"


def test_nobody_imports_relatively():
    assert [name for name, tree in modules() if any(i.startswith(".") for i in imports(tree))] == []


def test_a_room_imports_only_what_the_plan_lets_it():
    broken = [
        f"{name} imports {imported}"
        for name, tree in modules()
        if room(name) in MAY_IMPORT
        for imported in of_ours(tree)
        if not is_allowed(imported, name)
    ]

    assert broken == []


def test_only_the_entrances_import_the_command_line():
    importers = {name for name, tree in modules() if any(room(imported) == "cli" for imported in of_ours(tree))}

    assert {name for name in importers if room(name) != "cli"} <= MAY_IMPORT_CLI


def test_what_runs_commands_knows_no_kitchen():
    runners = [(name, tree) for name, tree in modules() if name.startswith("delivery.runner.")]
    allowed = {"delivery", "light_dataclass", "limits", "processes"}

    assert {name for name, _ in runners} > RUNNER_ROOMS
    assert [(name, i) for name, tree in runners for i in of_ours(tree) if room(i) not in allowed] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_known_in_its_home_only(library):
    knowers = [name for name, tree in modules() if any(room(imported) == library for imported in imports(tree))]

    assert [name for name in knowers if not f"{name}.".startswith(HOMES[library])] == []
    assert knowers, f"nobody imports {library} any more: take it out of HOMES and of pyproject.toml"


def test_what_a_remote_host_runs_needs_python_and_pymongo_only():
    known = {*sys.stdlib_module_names, "waiter", "pymongo", "bson"}
    strange = [
        f"{name} imports {imported}"
        for name, tree in modules()
        if room(name) in REMOTE
        for imported in imports(tree)
        if room(imported) not in known
    ]

    assert strange == []


def test_what_a_remote_host_imports_is_sent_to_it():
    at_home = [
        f"{name} imports {imported}"
        for name, tree in modules()
        if room(name) in REMOTE
        for imported in of_ours(tree)
        if room(imported) not in REMOTE | {"__version__"}
    ]

    assert at_home == []


def test_the_process_beside_the_commands_stays_light():
    """It should weigh no more than Python itself: one runner and one guard stand beside every waiter."""
    rooms = [(name, tree) for name, tree in modules() if name in LIGHT_ROOMS]

    assert {name for name, _ in rooms} == LIGHT_ROOMS
    assert [
        f"{name} imports {imported}"
        for name, tree in rooms
        for imported in imports(tree)
        if room(imported) not in LIGHT | AT_NEED.get(name, set())
        and not f"{imported}.".startswith(tuple(f"waiter.{one}." for one in LIGHT_ROOMS))
    ] == []


def loaded_by(cwd: Path, env: dict[str, str], *arguments: str) -> set[str]:
    """The top-level modules that a `waiter` command has imported when it ends, well or not."""
    return {room(name) for name in all_loaded_by(cwd, env, *arguments)}


def all_loaded_by(cwd: Path, env: dict[str, str], *arguments: str) -> set[str]:
    """All modules that it has imported, by their full names."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "waiter", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        timeout=60,
    )
    lines, said = imports_and_words(ended.stderr)
    assert ended.returncode == 0, f"waiter {' '.join(arguments)} ended with {ended.returncode}: {said}"
    return lines


def imports_and_words(stderr: str) -> tuple[set[str], str]:
    """The names of the modules that `python -X importtime` names there, and all else that is written there."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    said = "\n".join(line for line in stderr.splitlines() if line not in lines)
    return {line.rpartition("|")[2].strip() for line in lines}, said


HEAVY = {
    "pymongo",
    "bson",
    "fabric",
    "invoke",
    "paramiko",
    "boto3",
    "botocore",
    "pyarrow",
    "openpyxl",
    "starlette",
    "uvicorn",
    "jinja2",
    "prometheus_client",
}


def test_help_loads_no_heavy_library(tmp_path, home):
    loaded = loaded_by(tmp_path, home, "--help")

    assert "click" in loaded  # it did start
    assert loaded & (HEAVY | {"rich", "sqlite3"}) == set()


def test_status_of_a_file_loads_no_heavy_library(tmp_path, home):
    loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "load", "/dev/null")
    loaded = loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "status")

    assert "sqlite3" in loaded
    assert loaded & HEAVY == set()


def test_status_for_programs_draws_nothing(tmp_path, home):
    loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "load", "/dev/null")
    assert "rich" not in loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "status", "--json")


# What most waiters do without, and what each of these costs at their start: half a millisecond to five.
FOR_FEW = {
    "ast",
    "bz2",
    "click.shell_completion",
    "csv",
    "difflib",
    "hashlib",
    "inspect",
    "ipaddress",
    "locale",
    "lzma",
    "pickle",
    "platform",
    "shutil",
    "tempfile",
    "tomllib",
    "traceback",
    "waiter.cli.progress",
    "waiter.delivery.functions",
    "waiter.delivery.joblog",
    "waiter.delivery.named_functions",
    "waiter.delivery.runner.containment",
    "waiter.delivery.runner.slot",
    "waiter.delivery.shell_line",
    "waiter.intake",
    "waiter.report.capacity",
    "waiter.report.columns",
    "zipfile",
}


def test_a_waiter_starts_without_what_few_waiters_need(tmp_path, home):
    (tmp_path / "orders.csv").write_text("1\n")
    all_loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "load", "orders.csv")
    loaded = all_loaded_by(tmp_path, home, "--kitchen", "orders.sqlite", "deliver", "/bin/true")

    assert "waiter.delivery.waiter" in loaded  # it did start
    assert loaded & FOR_FEW == set()
    ours = {name.removeprefix("waiter.") for name in loaded if name.startswith("waiter.")}
    heavy = [name for name, tree in modules() if name in ours and "dataclasses.dataclass" in imports(tree)]
    assert set(heavy) <= {"light_dataclass"}, "each costs half a millisecond of every start: use light_dataclass"


def test_the_runner_starts_without_what_it_does_not_need():
    """Its start is a quarter of a waiter's."""
    ours, theirs = socket.socketpair()
    with open(os.devnull) as table, theirs:
        ours.close()  # a waiter that is gone: the runner ends at once
        passed = (theirs.fileno(), table.fileno())
        boot = [BOOT.format(room="main"), str(ROOT), *map(str, passed)]
        ended = subprocess.run(
            [sys.executable, "-X", "importtime", *PYTHON_FLAGS, *boot],
            pass_fds=passed,
            capture_output=True,
            text=True,
            timeout=60,
        )
    loaded, said = imports_and_words(ended.stderr)

    assert "waiter.delivery.runner.process" in loaded, said
    for_few = {"dataclasses", "inspect", "json", "pathlib", "re", "selectors", "socket", "subprocess", "typing"}
    assert loaded & for_few == set()


def test_no_room_is_long_without_a_reason():
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in sorted(HOUSE.rglob("*.py"))
        if (lines := len(path.read_text().splitlines())) > LONGEST_ROOM
        and REASON not in (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]

    assert long == []


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_no_function_is_long_without_a_reason():
    long = [
        f"{name}.{function.name}: {lines} lines"
        for name, tree in modules()
        for function in functions(tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > LONGEST_FUNCTION
        and REASON not in (ast.get_docstring(function) or "")
    ]

    assert long == []


def test_every_room_says_what_lives_there():
    assert [name for name, tree in modules() if not ast.get_docstring(tree)] == []


def verbs_with_files() -> list[str]:
    return [verb for verb in VERBS if verb != "fleet"]  # a package of its own


def test_every_verb_has_its_file_and_every_file_is_a_verb():
    files = {path.stem for path in (HOUSE / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert files == {verb_module(verb).rpartition(".")[2] for verb in verbs_with_files()}


@pytest.mark.parametrize("verb", verbs_with_files())
def test_a_verbs_file_says_its_purpose_once_for_both_helps(verb):
    path = HOUSE / "cli" / "commands" / f"{verb_module(verb).rpartition('.')[2]}.py"
    written = ast.get_docstring(ast.parse(path.read_text()))
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert inspect.cleandoc(command.help or "") == written

    lines = cli.get_help(click.Context(cli, info_name="waiter", terminal_width=80)).splitlines()
    (line,) = [line for line in lines if line.split()[:1] == [verb]]
    sentence = " ".join((written or "").partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
    assert " ".join(line.split()[1:]).removesuffix(".") == sentence
