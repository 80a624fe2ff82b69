"""`invoke status|load|deliver|…`: the kitchen's verbs from waiter.tasks; and the project's own chores."""

import sys

from invoke import Context, task

from waiter.tasks import kitchen_tasks


@task
def test(context: Context, expression: str = "") -> None:  # noqa: PT028
    """Run the tests; EXPRESSION picks some, as pytest's -k does."""
    chosen = f" -k '{expression}'" if expression else ""
    context.run(f"{sys.executable} -m pytest -n 4 --dist worksteal{chosen}", pty=sys.stdout.isatty())


@task
def lint(context: Context) -> None:
    """ruff check, ruff format --check and mypy --strict: all clean."""
    for line in ("ruff check .", "ruff format --check .", "mypy --strict waiter"):
        context.run(f"{sys.executable} -m {line}")


@task
def docs(context: Context) -> None:
    """Build the documentation as a site in build/site; broken links fail."""
    context.run(f"{sys.executable} website/make.py", pty=sys.stdout.isatty())


@task
def bench(context: Context, only: str = "") -> None:
    """Measure against peers and print one table; ONLY names one benchmark."""
    context.run(f"{sys.executable} -m benchmarks {only}", pty=sys.stdout.isatty())


@task
def soak(context: Context, minutes: float = 1.0, seed: int = 0) -> None:
    """Deliver while everything is killed at random, then check the promises. Without SEED, another one each time."""
    chosen = f" --seed {seed}" if seed else ""
    context.run(f"{sys.executable} -m tests.faults.soak --minutes {minutes}{chosen}", pty=sys.stdout.isatty())


ns = kitchen_tasks()
for chore in (test, lint, docs, bench, soak):
    ns.add_task(chore)
