"""/api: what `--json` prints over HTTP, described as OpenAPI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.conftest import check_in, fill, outcome
from tests.serving import serving
from waiter.orders import Reason, Status, Vitals

MOVING = {"heartbeat_age_s", "seconds", "rate", "eta", "eta_words", "last_hour"}
"""What is another at each look."""

ASKED = {
    "status": ("status?batch=b&more-hosts=2", ["status", "--batch", "b", "--more-hosts", "2"]),
    "orders": ("orders?status=ERROR&sort=-stop", ["orders", "--status", "ERROR", "--sort=-stop"]),
    "show": ("show?id=b-1", ["show", "b-1"]),
    "errors": ("errors?since=1h&lines=1", ["errors", "--since", "1h", "--lines", "1"]),
    "waiters": ("waiters?all", ["waiters", "--all"]),
    "batches": ("batches", ["batches"]),
}


REFUSED = {
    "clean": 404,
    "show": 400,
    "orders?color=red": 400,
    "orders?since=soon": 400,
    "orders?after=nan~b-1": 400,
    "orders?after=b-1": 400,
    "orders?after=~x-1": 400,
}


def still(value: object) -> object:
    """What stays the same from one look to the next."""
    if isinstance(value, dict):
        return {key: still(each) for key, each in value.items() if key not in MOVING}
    return [still(each) for each in value] if isinstance(value, list) else value


def unnamed(answer: object, schema: dict, at: str = "") -> Iterator[str]:
    """The fields of an answer that its schema does not name."""
    if isinstance(answer, list):
        for each in answer:
            yield from unnamed(each, schema.get("items", {}), at)
    elif isinstance(answer, dict) and "properties" in schema:
        for key, each in answer.items():
            yield from unnamed(each, schema["properties"][key], f"{at}.{key}") if key in schema["properties"] else [key]


def test_the_api_answers_what_json_prints_as_its_description_says(kitchen, kitchen_url, home, waiter_cli):
    fill(kitchen, [["\udcff<b>"], ["2"], ["3"], ["4"]])
    shift = check_in(kitchen)
    bad, fine, _ = kitchen.claim(shift, limit=3)
    facts = {"exit_code": 3, "reason": Reason.EXIT, "error": "no", "error_group": "3f9c2a1b", "tail": "one\ntwo\n"}
    kitchen.finish(shift, [outcome(bad, Status.ERROR, **facts), outcome(fine, result='{"a": [1]}')])

    with serving(kitchen_url, home) as site:
        description = json.loads(site.ask("/api/openapi.json")[2])
        answers, printed = {}, {}
        for verb, (address, words) in ASKED.items():
            kitchen.heartbeat(shift, Vitals())  # it is not late, however long this takes
            answers[verb] = site.ask(f"/api/{address}")
            printed[verb] = waiter_cli("-k", kitchen_url, *words, "--json").stdout
        refused = {word: site.ask(f"/api/{word}") for word in REFUSED}
        none = json.loads(site.ask("/api/orders?limit=1&waiter=nobody")[2])
        _, first, one = site.ask("/api/orders?limit=3&sort=-start")
        _, last, other = site.ask(re.fullmatch('<(.+)>; rel="next"', first["Link"])[1])
        closed = site.ask("/api/status", Cookie="")[0]

    validate(description)
    assert set(description["paths"]) == {f"/api/{verb}" for verb in ASKED}
    for verb, (status, headers, text) in answers.items():
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert still(json.loads(text)) == still(json.loads(printed[verb])), verb
        said = description["paths"][f"/api/{verb}"]["get"]["responses"]["200"]
        schema = said["content"]["application/json"]["schema"]
        Draft202012Validator(schema).validate(json.loads(text))
        exact = next(iter(schema.get("anyOf", [schema])))
        assert [*unnamed(json.loads(text), exact)] == [], verb
    assert none == {"orders": []}
    ids = [order["_id"] for page in (one, other) for order in json.loads(page)["orders"]]
    assert (sorted(ids), "Link" in last) == (["b-1", "b-2", "b-3", "b-4"], False)
    assert closed == 401
    assert {word: status for word, (status, _, text) in refused.items() if "error" in json.loads(text)} == REFUSED


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "٣", "00000000000001000"])
def test_a_limit_is_a_number_within_bounds(limit):
    from starlette.datastructures import QueryParams

    from waiter.errors import UsageError
    from waiter.web.asking import limit_from

    with pytest.raises(UsageError, match="limit"):
        limit_from(QueryParams({"limit": limit}))
