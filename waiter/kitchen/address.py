"""Addresses of kitchens as they may be shown: the one place that knows where in them a secret may stand.

Whatever is no good address is shown with less rather than with more.
"""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"[^/]*:[^/]*@")
"""USER:PASSWORD@ in a part of a path: who forgot the scheme, or a slash of it."""

_OPTION = re.compile(r"(authSource|replicaSet|tls|ssl|directConnection|loadBalanced)=[\w.-]*", re.IGNORECASE)
"""What of the options is needed to come in again, and can be no secret. All others are left out."""

HIDDEN = "…"


def shown(url: str) -> str:
    """The address without user, password and whatever else could be secret."""
    if is_path(url):
        return _CREDENTIALS.sub(f"{HIDDEN}@", url)
    place, _, options = without_user(url).partition("?")
    kept = [option for option in options.split("&") if _OPTION.fullmatch(option)]
    return f"{place}?{'&'.join(kept)}" if kept else place


def without_user(url: str) -> str:
    """The address without user and password. A password with a bare @, / or ? is wrong, but stays unseen too."""
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    place, question, options = rest.partition("?")
    if "@" in options:  # of the password or of an option: nobody can know
        return f"{scheme}{slashes}{HIDDEN}"
    return f"{scheme}{slashes}{place.rpartition('@')[2]}{question}{options}"


def user_of(url: str) -> str | None:
    """The user's name, if that is certain."""
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    user = credentials.partition(":")[0]
    return user if at and not set(user) & set("/?@") else None


def is_path(url: str) -> bool:
    """Whether it is written as a path, and not as an address or a bare host."""
    return url.startswith(("sqlite:", "/", ".", "~")) or ("/" in url and "://" not in url)


def has_credentials(url: str) -> bool:
    """Whether a part of it looks like USER:PASSWORD@."""
    return _CREDENTIALS.search(url) is not None
