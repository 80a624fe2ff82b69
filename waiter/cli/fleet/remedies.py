"""The lines that fix what is wrong, for the hosts that were meant: they repeat the selection that was typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from waiter.kitchen.address import shown

if TYPE_CHECKING:
    from waiter.cli.fleet.options import RunnerOptions
    from waiter.fleet.problems import Finding
    from waiter.fleet.runner import Report

_OURS = re.compile(r"\bwaiter fleet (doctor|logs|push|restart|start|status|stop)\b")

NOT_REPEATED = ("dry_run", "is_json", "batch", "boot", "own_commands")
"""Options of `start` that say nothing of what is to run, or mean another thing to `restart`."""


def typed_words(names: Iterable[str] | None = None) -> str:
    """The options of this command that were typed, or those of them with these names, as they would be typed again.

    A kitchen's address with a password is left out: it is not shown.
    """
    context = click.get_current_context()
    words: dict[str, list[str]] = {}
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in words or name in NOT_REPEATED or (names is not None and name not in names):
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words[name] = list(_typed(parameter, context.params.get(name)))
    return shlex.join(word for typed in words.values() for word in typed)


def _typed(parameter: click.Parameter, value: Any) -> Iterable[str]:
    if isinstance(parameter, click.Argument):
        return ["--cmd", shlex.join(value)] if parameter.name == "command" and value else []
    flag = max(parameter.opts, key=len)
    if isinstance(parameter, click.Option) and parameter.is_flag and isinstance(value, bool):
        return [flag] if value else []
    values = value if isinstance(value, tuple | list) else [value]
    if "kitchen" in str(parameter.name) and any(shown(str(each)) != str(each) for each in values):
        return []
    return [word for each in values for word in (flag, str(each))]


def remedied(report: Report, options: RunnerOptions) -> Report:
    """The report, whose remedies are for the hosts that were selected."""
    return replace(
        report,
        findings=tuple(_remedied(finding, options) for finding in report.findings),
        remarks=tuple(_remedied(remark, options) for remark in report.remarks),
    )


def _remedied(finding: Finding, options: RunnerOptions) -> Finding:
    from waiter.fleet.problems import Problem

    is_of_what_runs = finding.problem in (Problem.OLD_SCRIPT, Problem.OTHER_SETTINGS)
    words = options.typed_words if is_of_what_runs else options.selection_words

    def repeated(text: str) -> str:
        return _OURS.sub(lambda ours: f"{ours[0]} {words}", text) if words else text

    return replace(finding, detail=repeated(finding.detail), fix=repeated(finding.fix))
