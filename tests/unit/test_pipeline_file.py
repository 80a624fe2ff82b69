"""A pipeline's file: what its stages say, and what is said of mistakes in it: stage, line, and the nearest there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from waiter.cli.pipeline_file import named_file, read_pipeline
from waiter.errors import InputUnreadable, UsageError
from waiter.intake import Format

GOOD = """
[[stage]]
name = "draw"
after = ["align", "prepare"]
after-any = "align"
command = ["./draw.sh", "{1} x"]

[[stage]]
name = "prepare"
input = "samples.csv"
header = true
format = "csv"
command = "./prepare.sh '{size} mm'"
jobs = 4
retry-on = [75]
env = { A = "b" }

[[stage]]
name = "align"
after_row = "prepare"
shell = true
timeout = "2m"
command = "./align.sh {prepare.size} | tee x"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pipeline.toml"


def read(file: Path, text: str):
    file.write_text(text)
    return read_pipeline(file)


def test_stages_come_behind_those_that_they_name_with_all_that_they_say(file):
    prepare, align, draw = read(file, GOOD)

    assert (prepare.name, align.name, draw.name) == ("prepare", "align", "draw")
    assert prepare.words == ("./prepare.sh", "{size} mm")
    assert prepare.flags == {"jobs": "4", "retry_on": (75,), "env": {"A": "b"}}
    assert (prepare.reading.header, prepare.reading.format, prepare.reading.batch) == (True, Format.CSV, "prepare")
    assert (align.input, align.reading.header, align.reading.stage) == ("samples.csv", True, "align")
    assert (align.after_row, align.is_shell, align.words) == ("prepare", True, ("./align.sh {prepare.size} | tee x",))
    assert align.flags == {"shell": True, "timeout": "120.0"}
    assert (draw.after, draw.after_any, draw.words) == (("align", "prepare"), ("align",), ("./draw.sh", "{1} x"))
    assert draw.bound_to == draw.words


def test_a_pipeline_is_one_word_that_names_a_file(file, monkeypatch):
    read(file, GOOD)
    monkeypatch.chdir(file.parent)

    assert named_file(["pipeline.toml"]) == Path("pipeline.toml")
    assert named_file(["other.toml"]) is named_file(["cat", "pipeline.toml"]) is named_file(["./crunch.sh"]) is None
    with pytest.raises(UsageError, match=r"pipeline.toml: a pipeline takes no arguments: s.csv\nhint: a stage names"):
        named_file(["pipeline.toml", "s.csv"])


STAGE = '[[stage]]\nname = "a"\ninput = "x"\ncommand = "./a"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STAGE + "jbos = 2\n", "pipeline.toml, line 5, stage a: unknown key jbos\nhint: did you mean jobs?"),
        (STAGE + 'batch = "x"\n', "pipeline.toml, line 5, stage a: unknown key batch\nhint: known are name, input, "),
        (STAGE + "[[stages]]\n", "pipeline.toml, line 5: unknown key stages\nhint: a pipeline is a list of [[stage]]"),
        (STAGE + STAGE, "pipeline.toml, line 6, stage 2: there are two stages a\n"),
        (STAGE + 'after = "b"\n', "line 5, stage a: no stage is called b\nhint: "),
        (STAGE + 'after = "a"\n', "line 5, stage a: these stages would wait for each other: a → a\n"),
        (STAGE + "after-row = 3\n", "line 5, stage a: after_row = 3 names no stage\n"),
        (STAGE + "jobs = true\n", "line 5, stage a: jobs: true is not a valid value"),
        (STAGE + "retries = -1\n", "line 5, stage a: retries: -1 is not in the range"),
        (STAGE + 'header = "yes"\n', "line 5, stage a: header = 'yes' is not a valid value\nhint: give true or false"),
        (STAGE + 'format = "xml"\n', "line 5, stage a: format = 'xml' is not known\nhint: give csv, "),
        ('[[stage]]\nname = "a b"\n', "line 2, stage 1: name = 'a b' is not a valid name\n"),
        ('[[stage]]\nname = "a"\ncommand = "x"\n', "line 1, stage a: no input\nhint: name a file"),
        ('[[stage]]\nname = "a"\ninput = "x"\n', "line 1, stage a: no command\nhint: say what to run"),
        ('[[stage]]\nname = "a"\ninput = "x"\ncommand = "a \'b"\n', "line 4, stage a: command: No closing quotation\n"),
        ("[[stage]]\n", "line 1, stage 1: no name\nhint: give it one word"),
        (STAGE + 'priority = "x"\n', "priority = 'x' is not a valid value\nhint: give a whole number"),
        ("x = \n", "pipeline.toml: not TOML: Invalid value"),
        ("", "pipeline.toml: no stages\nhint: each begins with a line [[stage]]"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_write(file, text, message):
    with pytest.raises(UsageError) as refused:
        read(file, text)

    assert message in str(refused.value)


def test_stages_in_a_ring_are_refused_with_the_way_round(file):
    ring = "".join(
        f'[[stage]]\nname = "{name}"\ninput = "x"\ncommand = "x"\nafter = "{other}"\n'
        for name, other in ("ab", "bc", "ca")
    )
    with pytest.raises(UsageError, match="stage a: these stages would wait for each other: a → b → c → a"):
        read(file, ring)


def test_a_file_that_cannot_be_read_is_named(file):
    file.write_bytes(b"\xff")
    with pytest.raises(InputUnreadable, match=r"pipeline.toml: no text in UTF-8"):
        read_pipeline(file)
