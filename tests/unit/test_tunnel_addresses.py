"""What hosts are told of a kitchen at the other end of a tunnel."""

from __future__ import annotations

import pytest

from waiter.errors import UsageError
from waiter.kitchen import kind_of


@pytest.mark.parametrize(
    ("here", "there", "target"),
    [
        ("localhost", "mongodb://127.0.0.1:20001/?directConnection=true", ("localhost", 27017)),
        ("mongodb://[::1]:9/", "mongodb://127.0.0.1:20001/?directConnection=true", ("::1", 9)),
        (
            "mongodb://me:a%40b@db:27018/work?replicaSet=rs0&authSource=admin",
            "mongodb://me:a%40b@127.0.0.1:20001/work?authSource=admin&directConnection=true",
            ("db", 27018),
        ),
        (
            "mongodb://db.example/?tls=true&tlsCAFile=/ca.pem",
            "mongodb://127.0.0.1:20001/?tls=true&tlsCAFile=/ca.pem&tlsAllowInvalidHostnames=true&directConnection=true",
            ("db.example", 27017),
        ),
    ],
)
def test_only_the_server_is_another(here: str, there: str, target: tuple[str, int]) -> None:
    assert kind_of(here).through_tunnel(here, 20001) == (there, target)


@pytest.mark.parametrize(
    ("here", "why"),
    [
        ("mongodb+srv://db.example/", "names several"),
        ("mongodb://a,b:2/", "one host and port, and not to a,b:2"),
        ("mongodb://me:secret@db:x/", "^db:x: not a host and port"),
        ("./kitchen.sqlite", "this kitchen is none"),
    ],
)
def test_what_no_tunnel_leads_to_is_refused(here: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        kind_of(here).through_tunnel(here, 20001)

    assert "secret" not in str(refused.value)
