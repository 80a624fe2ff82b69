"""What came from a host, without the password that was sent there: a login script may send its stdin back."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import unquote

Value = TypeVar("Value")

SHORTEST = 4
"""A shorter password is part of too many words to be told from them."""


def password_of(url: str | None) -> str:
    """The password in a kitchen's address as it stands there, or nothing."""
    userinfo, at, _ = (url or "").partition("://")[2].rpartition("@")
    return userinfo.partition(":")[2] if at else ""


def masked(value: Value, password: str) -> Value:
    """A value of JSON without the password, as it was sent or as it reads, in any of its texts."""
    forms = {form for form in (password, unquote(password)) if len(form) >= SHORTEST}
    return _masked(value, sorted(forms, key=len, reverse=True)) if forms else value  # type: ignore[return-value]


def _masked(value: object, forms: list[str]) -> object:
    match value:
        case str():
            for form in forms:
                value = value.replace(form, "***")
            return value
        case list():
            return [_masked(each, forms) for each in value]
        case dict():
            return {name: _masked(each, forms) for name, each in value.items()}
    return value
