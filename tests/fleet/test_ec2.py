"""Who is in the fleet, asked of EC2 as moto_server speaks it. Its made-up public addresses are never connected to."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

from tests.conftest import eventually
from tests.fleet.environment import Ec2, Laptop, SharedKitchen
from waiter.cli.fleet.commands import fleet
from waiter.errors import FleetError, UsageError
from waiter.fleet import inventory
from waiter.fleet.inventory import AddressKind, HostSelection, select_hosts
from waiter.orders import Status


@pytest.fixture
def at_ec2(ec2: Ec2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ec2:
    """This process as a client of the cloud."""
    for key, value in {**ec2.env, "AWS_CONFIG_FILE": str(tmp_path / "c"), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    return ec2


def names(*tags: str, **facts: object) -> list[str]:
    return [host.name for host in select_hosts(HostSelection(tags=tags, address=AddressKind.PRIVATE, **facts))]  # type: ignore[arg-type]


def test_tags_select_by_value_by_wildcard_by_key_and_by_name_and_all_must_hold(at_ec2: Ec2) -> None:
    at_ec2.launch(Name="web-1", role="crunch", env="prod")
    at_ec2.launch(Name="web-2", role="crunch", env="test")
    at_ec2.launch(Name="crunch", other="x")
    at_ec2.launch(Name="lazy", crunch="")

    assert names("role=crunch") == ["web-1", "web-2"]
    assert names("role=cr*") == ["web-1", "web-2"]
    assert names("crunch") == ["crunch", "lazy"]
    assert names("role=crunch", "env=test") == ["web-2"]
    assert names("role=crunch", limit=("web-[1]",)) == ["web-1"]


def test_only_running_instances_unless_another_state_is_asked_for(at_ec2: Ec2) -> None:
    (stopped, _) = at_ec2.launch(2, role="half")
    at_ec2.client.stop_instances(InstanceIds=[stopped])

    assert stopped not in names("role=half")
    assert names("role=half", states=("stopped",)) == [stopped]


def test_several_regions_are_asked(at_ec2: Ec2) -> None:
    at_ec2.launch(Name="irish", role="spread")
    other = boto3.client("ec2", region_name="us-east-2")
    made = other.run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "ohio"}, {"Key": "role", "Value": "spread"}]}
        ],
    )

    try:
        assert names("role=spread", regions=("eu-west-1", "us-east-2")) == ["irish", "ohio"]
    finally:
        other.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])


def test_a_wrong_tag_says_so_and_what_there_is_in_another_state(at_ec2: Ec2) -> None:
    (stopped,) = at_ec2.launch(role="asleep")
    at_ec2.client.stop_instances(InstanceIds=[stopped])

    with pytest.raises(FleetError, match="no running instance, but 1 stopped"):
        names("role=asleep")
    with pytest.raises(FleetError, match=r"no instance has it\nhint: check the spelling"):
        names("role=crnch")


def test_without_credentials_region_or_profile_the_line_that_mends_it_is_named(
    at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FleetError, match="no AWS profile 'nobody'"):
        names("x", profile="nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(FleetError, match=r"no AWS credentials\.\nhint: run: aws configure"):
        names("x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(FleetError, match=r"no AWS region\.\nhint: give --region"):
        names("x")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(FleetError, match="no AWS profile 'nobody'"):
        names("x")


def test_aws_region_alone_says_where(at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    at_ec2.launch(Name="irish", role="here")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", at_ec2.region)

    assert names("role=here") == ["irish"]


def test_a_name_with_a_digit_that_is_no_number_sorts_as_text(at_ec2: Ec2) -> None:
    for name in ("node1²", "node10", "node2"):
        at_ec2.launch(Name=name, role="square")

    assert names("role=square") == ["node1²", "node2", "node10"]


def test_a_profile_that_wants_a_second_factor_says_so_where_nobody_can_be_asked(ec2: Ec2, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "[profile boss]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = me\nmfa_serial = arn:aws:iam::1:mfa/me\n"
        "[profile me]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    env = {**os.environ, **ec2.env, "AWS_CONFIG_FILE": str(tmp_path / "config"), "HOME": str(tmp_path)}
    del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    words = [sys.executable, "-m", "waiter", "fleet", "hosts", "--tag", "x", "--profile", "boss"]
    asked = subprocess.run(
        words, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True
    )

    assert asked.returncode == 1
    assert "profile boss asks for an MFA code" in asked.stderr
    assert "Traceback" not in asked.stderr


def throttled(connection: socket.socket) -> None:
    connection.recv(65536)
    code = "<Errors><Error><Code>RequestLimitExceeded</Code><Message>Slow</Message></Error></Errors>"
    body = f"<Response>{code}<RequestID>1</RequestID></Response>".encode()
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


def reset(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<Desc")


@contextmanager
def answering(how: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    how(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (throttled, "throttles requests of this account"),
        (reset, "broke off"),
        (cut, "is not AWS"),
        (lambda _: None, "broke off"),
    ],
)
def test_a_connection_that_aws_breaks_off_is_named_and_its_region_too(
    at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch, how: Callable[[socket.socket], None], said: str
) -> None:
    with answering(how) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

        with pytest.raises(FleetError, match=said) as refused:
            names("x", regions=("eu-west-1", "us-east-2"))

    assert re.search(r"AWS in (eu-west-1|us-east-2)\b", str(refused.value))


def test_a_throttled_question_says_why_it_takes_so_long(at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    with answering(throttled) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

        with pytest.raises(FleetError):
            select_hosts(HostSelection(tags=("x",)), note=notes.append)

    assert notes == [f"AWS in {at_ec2.region} throttles requests (RequestLimitExceeded); trying again."]


def test_a_cloud_that_does_not_answer_is_named(at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    with pytest.raises(FleetError, match="AWS in eu-west-1 does not answer"):
        names("x")


def test_what_is_no_cloud_is_named(at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{at_ec2.endpoint}/moto-api")  # a page, as a proxy would show one

    with pytest.raises(FleetError, match=r"^(the server that answers is not AWS|AWS in eu-west-1: )"):
        names("x")


def test_what_is_typed_comes_before_what_waiter_toml_says(
    at_ec2: Ec2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_ec2.launch(Name="web", role="crunch")
    monkeypatch.chdir(tmp_path)

    def shown(toml: str, *words: str) -> list[str]:
        Path("waiter.toml").write_text(f"[fleet]\n{toml}\n")
        return [host["host"] for host in json.loads(CliRunner().invoke(fleet, ["hosts", "--json", *words]).stdout)]

    assert shown('hosts = ["a", "b"]') == ["a", "b"]
    assert shown('hosts = "a"', "--tag", "role=crunch") == ["web"]
    assert shown('tag = "role=crunch"') == ["web"]
    assert shown('tag = "role=crunch"', "--hosts", "a,b") == ["a", "b"]
    for wrong in ("hosts = true", "dry_run = 1", 'cmd = ["a"]', "user = {a = 1}", "bogus = 1"):
        Path("waiter.toml").write_text(f"[fleet]\n{wrong}\n")
        refused = CliRunner().invoke(fleet, ["hosts"]).exception
        assert isinstance(refused, UsageError)
        assert str(refused).startswith("waiter.toml, [fleet]")
    Path("waiter.toml").unlink()
    both = CliRunner().invoke(fleet, ["hosts", "--tag", "role=crunch", "--hosts", "a"])
    assert isinstance(both.exception, UsageError)


def test_address_auto_is_the_public_one_where_there_is_one() -> None:
    both = {"PublicIpAddress": "192.0.2.1", "PrivateIpAddress": "10.0.0.1", "PublicDnsName": "", "PrivateDnsName": "ip"}
    inner = {"PrivateIpAddress": "10.0.0.1"}

    sixth = {"NetworkInterfaces": [{"Ipv6Addresses": []}, {"Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}]}]}

    def addresses(instance: dict[str, object]) -> list[str]:
        return [
            inventory.address_of(instance, AddressKind(name)) for name in ("auto", "private", "public", "ipv6", "dns")
        ]

    assert addresses(both) == ["192.0.2.1", "10.0.0.1", "192.0.2.1", "", "ip"]
    assert addresses(inner) == ["10.0.0.1", "10.0.0.1", "", "", ""]
    assert addresses(sixth) == ["2001:db8::1", "", "2001:db8::1", "2001:db8::1", ""]
    assert inventory.address_of({"InstanceId": "i-1", **both}, AddressKind.ID) == "i-1", "for Session Manager"
    assert addresses({**inner, **sixth}) == ["10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::1", ""]


@pytest.mark.long
def test_fab_drives_tagged_instances_from_start_to_stop(laptop: Laptop, shared: SharedKitchen, ec2: Ec2) -> None:
    hosts = ("anna", "ben", "cleo")
    for name in hosts:
        ec2.launch(address=laptop.network.hosts[name].address, Name=name, role="crunch")
    laptop.env |= ec2.env
    laptop.script('echo "crunched $*"')
    assert laptop.fleet("hosts", "--tag", "role=crunch", "--address", "private").stdout.count("running") == 3
    assert laptop.type(sys.executable, "-m", "waiter", "init").returncode == 0
    (laptop.folder / "waiter.toml").write_text(
        f'[fleet]\ntag = "role=crunch"\naddress = "private"\nkitchen = "{shared.url}"\ndb = "{shared.db}"\n'
        'cmd = "./crunch.sh --size 3"\nuntil = "stopped"\n'
    )
    shared.load(40)

    started = laptop.fab("fleet.start")
    assert started.returncode == 0, started.stderr
    assert sorted(line.split()[:2] for line in started.stdout.splitlines()[1:]) == [[name, "started"] for name in hosts]
    eventually(lambda: shared.count(Status.DONE) == 40)
    status = json.loads(laptop.fab("fleet.status", "--json").stdout)
    assert sorted(each["host"] for each in status["waiters"]) == [*hosts]
    assert sum(each["delivered"] or 0 for each in status["waiters"]) <= 40
    logs = laptop.fab("fleet.logs", "--lines=100")
    assert logs.stdout.count("crunched --size 3") == 40
    laptop.script('echo "ground $*"')
    restarted = laptop.fab("fleet.restart", "--batch=2")
    assert restarted.stdout.count(" restarted ") == 3, restarted.stderr
    assert laptop.fab("fleet.push").stdout.count(" already there") == 3
    assert laptop.fab("fleet.doctor").stdout.count(" fit ") == 3
    laptop.fab("fleet.fetch", ".waiter/hosts/*/waiter.log", "logs")
    assert len(list((laptop.folder / "logs").glob("*/waiter.log"))) == 3
    ran = laptop.fab("fleet.run", "hostname | tr a-z A-Z")
    assert {line.partition(" | ")[2] for line in ran.stdout.splitlines()} == {"ANNA", "BEN", "CLEO"}
    stopped = laptop.fab("fleet.stop", "--tag=role=crunch", "--limit=b*", "--limit=a*")
    assert stopped.stdout.count(" stopped ") == 2
    assert laptop.fab("fleet.stop").returncode == 0
    wrong = laptop.fab("fleet.start", "--tag=crnch")
    assert (wrong.returncode, wrong.stderr.count("hint: check the spelling")) == (1, 1)


def test_doctor_tells_which_instances_do_not_run(laptop: Laptop, ec2: Ec2) -> None:
    anna = laptop.network.hosts["anna"]
    ec2.launch(address=anna.address, Name="anna", role="sick")
    (stopped,) = ec2.launch(Name="asleep", role="sick")
    ec2.client.stop_instances(InstanceIds=[stopped])
    laptop.env |= ec2.env

    said = laptop.json("doctor", "--tag", "role=sick", "--address", "private")["by_name"]

    assert said["anna"]["outcome"] == "fit"
    assert (
        said["asleep"]["troubles"][0]["fix"] == f"aws ec2 start-instances --region eu-west-1 --instance-ids {stopped}"
    )
