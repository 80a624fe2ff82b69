"""EC2 as moto speaks it, behind a layer that adds what moto leaves out and what goes wrong in a real account.

Added: ClientToken (the same answer again, and the mismatch error), CreateFleet over several pools with what each has
(capacity, quota), consoles, and an end that instances report themselves; spot's prices by zone, and Amazon's price list
(those who are not told any prices may not ask for them). Faults are queued by POST to /faults: an error
code for the next calls of an action, an answer that is lost or held after or before the call is carried out, instances
that DescribeInstances does not show for a while. GET /calls tells what was called.

    python -m tests.fleet.faulty_ec2 PORT
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

Reply = tuple[str, list[tuple[str, str]], bytes]
Form = dict[str, str]

XML = [("Content-Type", "text/xml")]
OUTCOMES = ("LOSE", "HOLD", "HOLD_BEFORE")


def error(code: str, status: str = "400 Bad Request") -> Reply:
    body = (
        f'<?xml version="1.0"?><Response><Errors><Error><Code>{code}</Code><Message>{code} was injected</Message>'
        "</Error></Errors><RequestID>x</RequestID></Response>"
    )
    return status, XML, body.encode()


@dataclass
class FaultyEc2:
    """The layer. `inner` is moto's application."""

    inner: Callable[..., Iterable[bytes]]
    answered: dict[tuple[str, str], tuple[Form, Reply]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)  # action, code or outcome
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)  # "type/subnet/market" → {"has": 2, "code": …}
    consoles: dict[str, str] = field(default_factory=dict)
    empty_consoles: int = 0  # so many answers say nothing yet
    prices: dict[str, float] = field(default_factory=dict)  # "m7a.large" → dollars an hour, in the price list
    spot_prices: dict[str, dict[str, float]] = field(default_factory=dict)  # type → zone → dollars an hour
    hidden_s: float = 0.0  # so long are fresh instances missing from DescribeInstances
    born: dict[str, float] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path == "/faults":
            reply = self.control(json.loads(body))
        elif path == "/calls":
            with self.lock:
                reply = ("200 OK", [], json.dumps({"calls": self.calls, "held": self.held}).encode())
        elif "AWSPriceListService" in environ.get("HTTP_X_AMZ_TARGET", ""):
            reply = self.price_list(json.loads(body))
        elif method != "POST" or path.startswith("/moto-api"):
            reply = self.moto(environ, body)
        else:
            reply = self.action(environ, dict(parse_qsl(body.decode(), keep_blank_values=True)))
        start(reply[0], reply[1])
        return [reply[2]]

    def control(self, wanted: dict[str, Any]) -> Reply:
        with self.lock:
            self.faults += [tuple(each) for each in wanted.get("faults", [])]
            self.pools |= wanted.get("pools", {})
            self.consoles |= wanted.get("consoles", {})
            self.prices |= wanted.get("prices", {})
            self.spot_prices |= wanted.get("spot_prices", {})
            self.hidden_s = wanted.get("hidden_s", self.hidden_s)
            self.empty_consoles = wanted.get("empty_consoles", self.empty_consoles)
            if wanted.get("reset"):
                self.__init__(self.inner)  # type: ignore[misc]
        return "200 OK", [], b"{}"

    def moto(self, environ: dict[str, Any], body: bytes) -> Reply:
        got: list[tuple[str, list[tuple[str, str]]]] = []
        inner = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        out = b"".join(self.inner(inner, lambda status, headers, _=None: got.append((status, headers))))
        return got[0][0], got[0][1], out

    def action(self, environ: dict[str, Any], form: Form) -> Reply:
        action, token = form.get("Action", ""), form.get("ClientToken")
        with self.lock:
            self.calls.append({"action": action, "token": token, "count": form.get(_TOTAL)})
            fault = next((code for name, code in self.faults if name == action), None)
            if fault:
                self.faults.remove((action, fault))
        if fault == "HOLD_BEFORE":
            return self.hold(action)
        if fault and fault not in OUTCOMES:
            return error(fault, "503 Busy" if "Limit" in fault or "Throttl" in fault else "400 Bad Request")
        with self.lock:
            reply = self.idempotent(environ, form, action, token)
        if fault == "HOLD":
            return self.hold(action)
        return error("InternalError", "500 Lost") if fault == "LOSE" else reply

    def hold(self, action: str) -> Reply:
        """No answer for as long as any client waits."""
        with self.lock:
            self.held.append(action)
        time.sleep(30)
        return error("InternalError", "500 Lost")

    def idempotent(self, environ: dict[str, Any], form: Form, action: str, token: str | None) -> Reply:
        if token and (before := self.answered.get((action, token))):
            return before[1] if before[0] == form else error("IdempotentParameterMismatch")
        reply = self.carried_out(environ, form, action)
        if token and reply[0].startswith("200"):
            self.answered[action, token] = (form, reply)
        return reply

    def carried_out(self, environ: dict[str, Any], form: Form, action: str) -> Reply:
        if action == "CreateFleet":
            return self.create_fleet(environ, form)
        if action == "GetConsoleOutput":
            text = self.consoles.get(form["InstanceId"], "")
            if text and self.empty_consoles:
                self.empty_consoles, text = self.empty_consoles - 1, ""
            said = base64.b64encode(text.encode()).decode()
            body = f"<GetConsoleOutputResponse><instanceId>{form['InstanceId']}</instanceId><output>{said}</output>"
            return "200 OK", XML, f"{body}</GetConsoleOutputResponse>".encode()
        if action == "DescribeSpotPriceHistory":
            kinds = [value for key, value in form.items() if key.startswith("InstanceType.")]
            return self.spot_history(kinds) if self.spot_prices else error("UnauthorizedOperation", "403 Forbidden")
        reply = self.moto(environ, urlencode(form).encode())
        return self.without_hidden(reply) if action == "DescribeInstances" and self.hidden_s else reply

    def without_hidden(self, reply: Reply) -> Reply:
        def kept(found: re.Match[bytes]) -> bytes:
            ids = set(re.findall(rb"<instanceId>(i-\w+)", found[0]))
            young = {id_ for id_ in ids if time.monotonic() - self.born.get(id_.decode(), 0.0) < self.hidden_s}
            return b"" if young else found[0]

        whole = re.compile(
            rb"<item>\s*<reservationId>.*?</instancesSet>.*?</item>(?=\s*(?:<item>\s*<reservationId>|</res))", re.DOTALL
        )
        return reply[0], [each for each in reply[1] if each[0] != "Content-Length"], whole.sub(kept, reply[2])

    # Prices: moto has none of the list, and those of 2006 for spot.

    def spot_history(self, kinds: list[str]) -> Reply:
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{price:.6f}</spotPrice><availabilityZone>{zone}</availabilityZone></item>"
            for kind in kinds
            for zone, price in self.spot_prices.get(kind, {}).items()
        )
        body = f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{items}</spotPriceHistorySet>"
        return "200 OK", XML, f"{body}</DescribeSpotPriceHistoryResponse>".encode()

    def price_list(self, asked: dict[str, Any]) -> Reply:
        with self.lock:
            self.calls.append({"action": "GetProducts", "token": None, "count": None})
        said = [("Content-Type", "application/x-amz-json-1.1")]
        if not self.prices:
            return "400 Bad Request", said, json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
        kind = next(each["Value"] for each in asked["Filters"] if each["Field"] == "instanceType")
        amount = {"unit": "Hrs", "pricePerUnit": {"USD": f"{self.prices.get(kind, 0):.10f}"}}
        product = {"terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": amount}}}}}
        found = [json.dumps(product)] if kind in self.prices else []
        return "200 OK", said, json.dumps({"FormatVersion": "aws_v1", "PriceList": found}).encode()

    # CreateFleet: moto takes the first override, and has all that anybody asks for.

    def create_fleet(self, environ: dict[str, Any], form: Form) -> Reply:
        left, market = int(form[_TOTAL]), form["TargetCapacitySpecification.DefaultTargetCapacityType"]
        groups, errors, fleet_id = [], [], "fleet-0"
        for number, kind, subnet in _overrides(form):
            pool = self.pools.get(f"{kind}/{subnet}/{market}") or self.pools.get(f"{kind}/{market}") or {}
            take = min(left, int(pool.get("has", left)))
            if take:
                reply = self.moto(environ, urlencode(_only(form, number, take, market)).encode())
                if not reply[0].startswith("200"):
                    return reply
                ids = re.findall(r"\bi-[0-9a-f]{17}\b", reply[2].decode())
                fleet_id = (re.findall(r"\bfleet-[\w-]+", reply[2].decode()) or [fleet_id])[0]
                self.born |= dict.fromkeys(ids, time.monotonic())
                groups.append(_group(dict.fromkeys(ids), kind, subnet, market))
                left -= take
                if "has" in pool:
                    pool["has"] = int(pool["has"]) - take
            if left and "code" in pool:
                errors.append(_error(kind, subnet, market, pool["code"]))
        body = (
            f"<CreateFleetResponse><fleetId>{fleet_id}</fleetId><errorSet>{''.join(errors)}</errorSet>"
            f"<fleetInstanceSet>{''.join(groups)}</fleetInstanceSet></CreateFleetResponse>"
        )
        return "200 OK", XML, body.encode()


_TOTAL = "TargetCapacitySpecification.TotalTargetCapacity"
_OVERRIDE = re.compile(r"LaunchTemplateConfigs\.1\.Overrides\.(\d+)\.(\w+)")


def _overrides(form: Form) -> list[tuple[str, str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key, value in form.items():
        if match := _OVERRIDE.fullmatch(key):
            found.setdefault(match[1], {})[match[2]] = value
    return [(number, each["InstanceType"], each.get("SubnetId", "")) for number, each in found.items()]


def _only(form: Form, number: str, count: int, market: str) -> Form:
    """The request with one of its overrides, as the first one, and another number."""
    kept = {key: value for key, value in form.items() if not _OVERRIDE.fullmatch(key)}
    for key, value in form.items():
        if (match := _OVERRIDE.fullmatch(key)) and match[1] == number:
            kept[f"LaunchTemplateConfigs.1.Overrides.1.{match[2]}"] = value
    which = "SpotTargetCapacity" if market == "spot" else "OnDemandTargetCapacity"
    return {**kept, _TOTAL: str(count), f"TargetCapacitySpecification.{which}": str(count)}


def _pool(kind: str, subnet: str) -> str:
    where = f"<subnetId>{subnet}</subnetId>" if subnet else ""
    overrides = f"<overrides><instanceType>{kind}</instanceType>{where}</overrides>"
    return f"<launchTemplateAndOverrides>{overrides}</launchTemplateAndOverrides>"


def _group(ids: Iterable[str], kind: str, subnet: str, market: str) -> str:
    items = "".join(f"<item>{id_}</item>" for id_ in ids)
    return (
        f"<item>{_pool(kind, subnet)}<lifecycle>{market}</lifecycle><instanceIds>{items}</instanceIds>"
        f"<instanceType>{kind}</instanceType></item>"
    )


def _error(kind: str, subnet: str, market: str, code: str) -> str:
    words = escape(f"We currently do not have {kind} for you.")
    return (
        f"<item>{_pool(kind, subnet)}<lifecycle>{market}</lifecycle><errorCode>{code}</errorCode>"
        f"<errorMessage>{words}</errorMessage></item>"
    )


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    layer = FaultyEc2(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), layer, threaded=True)


if __name__ == "__main__":
    main()
