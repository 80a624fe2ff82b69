"""Rows of CSV, lines or JSON Lines become the arguments of orders. Pure reading: it knows no kitchen.

A row's number is what a spreadsheet shows: from 1, a header and blank rows included. Bytes that are no UTF-8 become
surrogate escapes, so that `os.fsencode` gives them back as they were. A line ends at \\n or \\r\\n (in CSV outside
quotes at a lone \\r too), and one of nothing but white space or delimiters is blank; `""` in CSV is an empty argument.
TSV knows no quotes: a line is a row, and a tab parts its cells.
"""

from waiter.intake.delimiters import delimiter_from
from waiter.intake.digest import RunningDigest
from waiter.intake.json_lines import python_row
from waiter.intake.rows import OnBad, Row, Seen, read
from waiter.intake.source import Format, Input, format_of, opened

__all__ = [
    "Format",
    "Input",
    "OnBad",
    "Row",
    "RunningDigest",
    "Seen",
    "delimiter_from",
    "format_of",
    "opened",
    "python_row",
    "read",
]
