"""What separates the columns of a CSV file is guessed when it is certain, and otherwise left as it is."""

from __future__ import annotations

import pytest

from waiter.errors import UsageError
from waiter.intake.delimiters import delimiter_from, look

CERTAIN = [
    ("a;b\n1;2\n", ";"),
    ("a;b\n1,5;2\n3;4,5\n", ";"),
    ('"x;y";b\n"z";c\n', ";"),
    ("a\tb\n1\t2\n", "\t"),
    ("a;b\n;;\n\n1;2\n".replace(";;", ";"), ";"),
]


@pytest.mark.parametrize(("text", "delimiter"), CERTAIN)
def test_a_delimiter_that_alone_makes_a_table_is_taken(text, delimiter):
    seen = look(text, None, is_cut=False)

    assert (seen.delimiter, seen.is_guessed) == (delimiter, True)


UNCERTAIN = [
    "a;b;c\n",  # one row proves nothing
    "1,5;2,5\n1,3;2,2\n",  # two columns, or three
    "a,b;c\n1,2;3\n",
    "a;b\n1\n",
    "a;b\tc\n1;2\t3\n",
    "cd x; make\ncd y; make\n",
    "fish &amp; chips\nsalt &amp; vinegar\n",
    "a=1;b=2\na=3;b=4\n",
    "a|b\n1|2\n",
    "a,b\n1,2\n",
    "a\nb\n",
    "",
]


@pytest.mark.parametrize("text", UNCERTAIN)
def test_a_delimiter_that_is_not_certain_is_not_guessed(text):
    seen = look(text, None, is_cut=False)

    assert (seen.delimiter, seen.is_guessed) == (",", False)


def test_what_was_said_is_never_overruled():
    seen = look("a;b\n1;2\n", ",", is_cut=False)

    assert (seen.delimiter, seen.is_guessed, seen.better) == (",", False, ";")


def test_a_beginning_that_ends_within_quotes_is_judged_by_its_whole_rows():
    assert look('a;b\n1;2\n3;"4\n', None, is_cut=True).delimiter == ";"
    assert not look('a;b\n1;2\n3;"4\n', None, is_cut=False).is_guessed


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sample_id,path\nS1,/d/1.bam\nS2,/d/2.bam\n", ("sample_id", "path")),
        ("n\n1\n2\n", ("n",)),
        ("name,colour\nada,red\nbob,blue\n", ("name", "colour")),
        ("e-mail\na@b\nc@d\n", ("e-mail",)),
        ("1,2\n3,4\n5,6\n", ()),
        ("red\nblue\ngreen\n", ()),
        ("a,a\n1,2\n3,4\n", ()),
        ("n\n1\n", ()),
        ("tile-1\ntile-2\ntile-3\n", ()),
        ("/a/b\n/a/c\n/a/d\n", ()),
    ],
)
def test_a_first_row_that_names_the_others_cells_looks_like_a_header(text, names):
    assert look(text, None, is_cut=False).header == names


@pytest.mark.parametrize(("said", "meant"), [(";", ";"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("|", "|")])
def test_a_delimiter_can_be_typed(said, meant):
    assert delimiter_from(said) == meant


@pytest.mark.parametrize("said", ["", ";;", '"', "\n", "\0"])
def test_what_can_separate_nothing_is_refused(said):
    with pytest.raises(UsageError, match="--delimiter"):
        delimiter_from(said)
