"""Write fabfile.py, tasks.py and waiter.toml into FOLDER. The default is this one. Then fab and invoke work there.

Files that are there already stay as they are.

\b
waiter init
waiter init ~/crunching && cd ~/crunching && fab --list
"""

from __future__ import annotations

from pathlib import Path

import click

from waiter.cli.console import say
from waiter.errors import naming

FABFILE = '''\
"""`fab --list` shows the fleet's verbs; `fab --help fleet.start` what one of them takes."""

from invoke.collection import Collection

from waiter.fleet.tasks import fleet_tasks

ns = Collection(fleet_tasks())
'''

TASKS = '''\
"""`invoke --list` shows the kitchen's verbs; `invoke status` is `waiter status`."""

from waiter.tasks import kitchen_tasks

ns = kitchen_tasks()
'''

TOML = """\
# Defaults for every command in this folder; flags win. Passwords belong into WAITER_KITCHEN.
# kitchen = "mongodb://db1.example,db2.example,db3.example/?replicaSet=rs"
# db = "simplewaiter"

[deliver]
# retries = 2
# timeout = "5m"

[fleet]
# tag = "crunch"
# region = "eu-west-1"
# user = "ec2-user"
# cmd = "./crunch.sh --some-param some-value"
"""

FILES = {"fabfile.py": FABFILE, "tasks.py": TASKS, "waiter.toml": TOML}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        file = folder / name
        if file.exists():
            say(f"{file} is there already; left as it is")
            continue
        with naming(file):
            file.write_text(text, encoding="utf-8")
        say(f"wrote {file}")
    say("Next: edit waiter.toml, then try: waiter fleet hosts; fab --list; invoke --list")
