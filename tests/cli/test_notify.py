"""Somebody is told when a batch ends, by a command or an HTTP POST, on both kitchens."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import check_in, fill, outcome
from waiter.errors import NotificationFailed
from waiter.notify import webhook
from waiter.orders import Status


class Listener:
    """A server on loopback that gives the answers it was told to, in turn, and then 204; and what it was sent."""

    def __init__(self):
        self.answers = []
        self.heard = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.append((self.path, dict(self.headers), json.loads(body)))
                code, said, *location = listener.answers.pop(0) if listener.answers else (204, "")
                self.send_response(code)
                for place in location:
                    self.send_header("Location", place)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}/hook/s3cr3t"


@pytest.fixture
def listener():
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.02,))
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


@pytest.fixture
def ended(kitchen):
    """Two orders delivered, one failed."""
    fill(kitchen, [["1"], ["2"], ["3"]])
    shift = check_in(kitchen)
    first, *rest = kitchen.claim(shift, limit=3)
    failed = outcome(first, Status.ERROR, exit_code=3, error="no such tile", error_group="12345678")
    kitchen.finish(shift, [failed, *map(outcome, rest)])
    kitchen.check_out(shift)
    return kitchen


def test_a_url_gets_one_json_object_with_the_facts(ask, ended, listener):
    told = ask("notify", "--batch", "b", "--post", listener.url)

    ((path, headers, facts),) = listener.heard
    assert path == "/hook/s3cr3t"
    assert headers["Content-Type"] == "application/json"
    assert facts["text"] == "b: 2 DONE, 1 ERROR."
    assert (facts["exit_code"], facts["is_done"], facts["batch"], facts["total"]) == (1, True, "b", 3)
    assert facts["counts"] == {"READY": 0, "RUNNING": 0, "DONE": 2, "ERROR": 1, "CANCELLED": 0}
    assert [(g["count"], g["message"], g["example"]) for g in facts["failures"]] == [(1, "no such tile", "b-1")]
    assert told.stderr == "2 DONE, 1 ERROR.\n"


def test_a_command_gets_the_facts_as_variables_and_as_json(ask, ended, tmp_path):
    line = 'echo "$WAITER_TEXT|$WAITER_EXIT_CODE|$WAITER_BATCH|$WAITER_TOTAL|$WAITER_COUNT_ERROR"; cat'

    told, facts = ask("notify", "--batch", "b", "sh", "-c", line).stdout.splitlines()

    assert told == "b: 2 DONE, 1 ERROR.|1|b|3|1"
    assert json.loads(facts)["counts"]["DONE"] == 2


def test_nobody_is_told_before_the_end_and_then_once(begin, kitchen, listener):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    telling = begin("notify", "--post", listener.url)
    with pytest.raises(subprocess.TimeoutExpired):
        telling.wait(1.5)
    assert listener.heard == []

    kitchen.finish(shift, [outcome(order)])

    assert telling.wait(30) == 0
    assert [facts["exit_code"] for _, _, facts in listener.heard] == [0]


def test_giving_up_is_told_too(ask, kitchen, listener):
    fill(kitchen, [["1"]])

    ask("notify", "--unattended", "0.2", "--post", listener.url)
    ask("notify", "--timeout", "0.1", "--post", listener.url)

    assert [(facts["is_done"], facts["exit_code"], facts["text"]) for _, _, facts in listener.heard] == [
        (False, 125, "Nobody is at work: 1 READY."),
        (False, 124, "The time is up: 1 READY."),
    ]


def test_who_refuses_is_named_once_without_the_secrets_of_the_address(ask, ended, listener):
    listener.answers = [(403, "token_revoked")]

    told = ask("notify", "--post", listener.url, code=5)

    assert told.stderr.splitlines()[1:] == [
        f"waiter: notification failed: http://{listener.place}: answered 403 Forbidden token_revoked."
    ]
    assert len(listener.heard) == 1


BRISK = (0.01, 0.02, 0.03)
"""Pauses in seconds between the four tries."""


def test_a_server_in_trouble_is_asked_again(listener):
    listener.answers = [(503, ""), (429, "")]
    said: list[str] = []

    webhook.post(webhook.webhook_address(listener.url), {"text": "all well"}, said.append, BRISK)

    assert [facts for _, _, facts in listener.heard] == [{"text": "all well"}] * 3
    assert "answered 503" in said[0]
    assert "s3cr3t" not in "".join(said)


def test_who_does_not_answer_is_given_up_after_four_tries():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    said: list[str] = []

    with pytest.raises(NotificationFailed, match=f"notification failed: http://127.0.0.1:{port}: Connection refused."):
        webhook.post(webhook.webhook_address(f"http://127.0.0.1:{port}/hook"), {}, said.append, BRISK)

    assert ["Trying again" in line for line in said] == [True] * 3


def test_a_post_that_is_sent_elsewhere_was_not_told(listener):
    listener.answers = [(302, "", "/elsewhere")]

    with pytest.raises(NotificationFailed, match="answered 302: it has moved"):
        webhook.post(webhook.webhook_address(listener.url), {}, print)

    assert [path for path, _, _ in listener.heard] == ["/hook/s3cr3t"]


def test_a_password_in_the_address_is_sent_as_one_and_shown_nowhere(listener):
    listener.answers = [(401, "")]

    with pytest.raises(NotificationFailed) as refused:
        webhook.post(webhook.webhook_address(listener.url.replace("//", "//me:pass%40word@")), {}, print)

    assert listener.heard[0][1]["Authorization"] == "Basic bWU6cGFzc0B3b3Jk"
    assert "pass" not in str(refused.value)


def test_what_cannot_be_told_is_said_before_the_waiting(ask, kitchen):
    fill(kitchen, [["1"]])

    assert "command not found" in ask("notify", "no-such-program", code=4).stderr
    assert "invalid webhook URL" in ask("notify", "--post", "ftp://x", code=2).stderr
    assert "name a command, or --post URL" in ask("notify", code=2).stderr
    assert "invalid webhook URL" in ask("wait", "--notify", "http://", code=2).stderr


def test_a_command_that_fails_is_named(ask, ended):
    told = ask("notify", "sh", "-c", "exit 7", code=5)

    assert told.stderr.splitlines()[-1] == "waiter: notification failed: sh -c 'exit 7' ended with exit code 7."


def test_the_kitchen_is_told_without_its_password(waiter_cli, ended, kitchen_url, listener):
    with_password = kitchen_url.replace("mongodb://", "mongodb://me:s3cr3t@")
    where = {"WAITER_KITCHEN": kitchen_url, "WAITER_SECRET": with_password}

    seen = waiter_cli("notify", "sh", "-c", 'echo "${WAITER_KITCHEN-none} $WAITER_KITCHEN_URL"', **where).stdout

    assert seen == f"{kitchen_url} {ended.url}\n"


def test_wait_tells_and_ends_as_the_orders_did(ask, ended, listener, tmp_path):
    ask("wait", "--notify", listener.url, code=1)
    assert ask.json("wait", "--notify", "cat > told", code=1)["counts"]["ERROR"] == 1

    assert listener.heard[0][2] == json.loads((tmp_path / "told").read_text()) | {"at": listener.heard[0][2]["at"]}


def test_wait_says_when_all_is_well_but_nobody_could_be_told(ask, kitchen):
    assert "exit 3 ended with exit code 3" in ask("wait", "--notify", "exit 3", code=5).stderr


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("false", 1)])
def test_run_tells_when_its_batch_has_ended(waiter_cli, kitchen_url, listener, script, code):
    ran = waiter_cli("run", "-k", kitchen_url, "--notify", listener.url, script, input="1\n2\n")

    assert ran.returncode == code, ran.stderr
    ((_, _, facts),) = listener.heard
    assert (facts["exit_code"], facts["is_done"], facts["total"]) == (code, True, 2)


def test_run_tells_that_it_was_halted(waiter_cli, kitchen_url, listener):
    ran = waiter_cli(
        "run", "-k", kitchen_url, "--halt", "now,fail=1", "--notify", listener.url, "false", input="1\n2\n"
    )

    assert ran.returncode == 1, ran.stderr
    ((_, _, facts),) = listener.heard
    assert (facts["exit_code"], facts["is_done"], facts["counts"]["READY"]) == (1, False, 1)
