"""Who is in the fleet: EC2 instances by tag, or a list of hosts."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from waiter.errors import FleetError, UsageError
from waiter.fleet.aws import Ec2

STATES = ("pending", "running", "shutting-down", "stopping", "stopped", "terminated")
"""An instance's states, in EC2's words."""

ALIVE = ("pending", "running", "stopping", "stopped")
"""States that `doctor` looks at: an instance in them may still be made to work."""


class AddressKind(StrEnum):
    """Which of an instance's addresses to connect to."""

    AUTO = "auto"  # public where there is one, else private, else IPv6
    PRIVATE = "private"
    PUBLIC = "public"  # IPv4 where there is one, else IPv6
    IPV6 = "ipv6"
    DNS = "dns"
    ID = "id"  # for a ProxyCommand that goes by the instance's id, as AWS Session Manager does


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet. `name` is unique in a selection and what tables show."""

    name: str
    address: str  # what to connect to: an address, a name, or an alias of ~/.ssh/config; "" if it has none
    user: str | None = None
    port: int | None = None  # None: ~/.ssh/config, else 22
    instance_id: str | None = None
    state: str | None = None
    region: str | None = None
    kind: str | None = None  # the instance type
    dns: str | None = None  # what EC2 calls it, and what it mostly calls itself
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class HostSelection:
    """What the options of a verb select. All tags must hold; hosts that are named need no cloud."""

    tags: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    profile: str | None = None
    states: tuple[str, ...] = ("running",)
    address: AddressKind = AddressKind.AUTO
    hosts: tuple[str, ...] = ()
    hosts_file: Path | None = None
    limit: tuple[str, ...] = ()
    user: str | None = None


class NoHosts(FleetError):
    """Nobody is there by now, though hosts may come."""


def silent(_message: str) -> None:
    """Nobody hears why the cloud takes its time."""


def select_hosts(selection: HostSelection, note: Callable[[str], None] = silent) -> list[Host]:
    """The hosts that are meant, sorted by name. `note` is told why it takes long.

    Raises FleetError when there are none, UsageError for nonsense.
    """
    if selection.hosts or selection.hosts_file:
        if selection.tags:
            raise UsageError("--tag and --hosts together: give one of them")
        found = listed(selection)
    elif selection.tags:
        found = tagged(selection, note)
    else:
        raise UsageError(
            "which hosts?\nhint: give --tag K=V, --hosts a,b or --hosts-file FILE, or tag = … in waiter.toml"
        )
    found = [replace(host, user=host.user or selection.user) for host in found]
    hosts = [host for host in found if not selection.limit or is_named(host, selection.limit)]
    if not hosts:
        raise NoHosts(f"--limit {','.join(selection.limit)} leaves none of {len(found)} hosts: {some_names(found)}")
    return sorted(hosts, key=lambda host: natural(host.name))


def is_named(host: Host, globs: Iterable[str]) -> bool:
    """Whether a glob fits the host's name, address or instance id."""
    names = [name for name in (host.name, host.address, host.instance_id) if name]
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs for name in names)


def some_names(hosts: Sequence[Host]) -> str:
    shown = ", ".join(host.name for host in hosts[:5])
    return f"{shown}, …" if len(hosts) > 5 else shown


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts web-2 before web-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


# A list of hosts.


def listed(selection: HostSelection) -> list[Host]:
    """The hosts of --hosts and --hosts-file, each once. Raises FleetError when the file holds none."""
    words = [("--hosts", word.strip()) for given in selection.hosts for word in given.split(",")]
    if selection.hosts_file:
        words += in_file(selection.hosts_file)
    unique = {word: where for where, word in reversed(words) if word}
    if not unique:
        raise FleetError("no host is selected: --hosts and --hosts-file name none")
    return [parsed_host(word, where) for word, where in reversed(unique.items())]


def in_file(file: Path) -> list[tuple[str, str]]:
    """The words of a file, one a line, each with where it stands. Raises UsageError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"--hosts-file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--hosts-file {file}: not UTF-8 text") from error
    return [(f"{file}, line {number}", line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]


def parsed_host(word: str, where: str = "--hosts") -> Host:
    """`[user@]host[:port]`, an IPv6 address with a port in brackets: `[::1]:22`. Raises UsageError."""
    user, _, rest = word.rpartition("@")
    match = _PLACE.fullmatch(rest)
    if not match or word.startswith(("-", "@")) or rest.startswith("-") or "," in word or len(word.split()) != 1:
        raise UsageError(f"{where}: {word}: not a host\nhint: give name, user@name or user@name:port")
    address = match["bracketed"] or match["name"] or match["bare"]
    digits = match["port_6"] or match["port"]
    port = int(digits) if digits else None
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"{where}: {word}: there is no port {port}")
    return Host(name=word, address=address, user=user or None, port=port)


_PLACE = re.compile(
    r"\[(?P<bracketed>[^][\s]+)\](:(?P<port_6>\d+))?"
    r"|(?P<name>[^][:\s]+)(:(?P<port>\d+))?"
    r"|(?P<bare>[\da-fA-F]*:[\da-fA-F:.]+(%\S+)?)"  # IPv6
)


# EC2.


def tagged(selection: HostSelection, note: Callable[[str], None] = silent) -> list[Host]:
    """The instances that carry all tags, in all regions. Raises FleetError with what to do when there are none."""
    regions: Sequence[str | None] = selection.regions or [None]
    with ThreadPoolExecutor(max_workers=min(8, len(regions))) as pool:
        found = [
            host for hosts in pool.map(lambda region: in_region(selection, region, note), regions) for host in hosts
        ]
    if not found:
        raise NoHosts(why_none(selection))
    return with_unique_names(found)


def in_region(selection: HostSelection, region: str | None, note: Callable[[str], None] = silent) -> list[Host]:
    """The instances of one region; None is boto3's own default region."""
    client = Ec2(selection.profile, region, note)
    common = [{"Name": "instance-state-name", "Values": list(selection.states)}]
    words = []
    for tag in selection.tags:
        key, equals, value = tag.partition("=")
        if not key:
            raise UsageError(f"--tag {tag}: give K=V, or one word")
        if equals:
            common.append({"Name": f"tag:{key}", "Values": [value]})
        else:
            words.append(key)
    matches = [client.instances(common)] if not words else []
    for word in words:
        # A word alone: has the tag key, or is named so. EC2 cannot say "or" across filters, so it is asked twice.
        with_key = client.instances([*common, {"Name": "tag-key", "Values": [word]}])
        named_so = client.instances([*common, {"Name": "tag:Name", "Values": [word]}])
        matches.append({**with_key, **named_so})
    in_all = set.intersection(*(set(match) for match in matches))
    return [host_of(matches[0][each], client.region, selection.address) for each in sorted(in_all)]


def why_none(selection: HostSelection) -> str:
    """Words for an empty selection: the same tags in another state, or no such tag."""
    tags = " ".join(f"--tag {tag}" for tag in selection.tags)
    where = f" in {', '.join(selection.regions)}" if selection.regions else ""
    wider = replace(selection, states=STATES)
    states = Counter(host.state for region in selection.regions or [None] for host in in_region(wider, region))
    if states:
        seen = ", ".join(f"{count} {state}" for state, count in states.items())
        return (
            f"{tags}: no {' or '.join(selection.states)} instance{where}, but {seen}\nhint: start them, or give --state"
        )
    return f"{tags}: no instance{where} has it\nhint: check the spelling (case counts), --region and --profile"


def host_of(instance: Mapping[str, Any], region: str, address: AddressKind) -> Host:
    """One instance of DescribeInstances' answer as a host."""
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
    return Host(
        name=tags.get("Name") or instance["InstanceId"],
        address=address_of(instance, address),
        instance_id=instance["InstanceId"],
        state=instance["State"]["Name"],
        region=region,
        kind=instance.get("InstanceType"),
        dns=instance.get("PrivateDnsName") or None,
        tags=tags,
    )


def address_of(instance: Mapping[str, Any], address: AddressKind) -> str:
    """The address to connect to, or "" if the instance has no such one."""
    private = instance.get("PrivateIpAddress") or ""
    public = instance.get("PublicIpAddress") or ""
    ipv6 = instance.get("Ipv6Address") or next(ipv6_addresses(instance), "")
    return {
        AddressKind.AUTO: public or private or ipv6,
        AddressKind.PRIVATE: private,
        AddressKind.PUBLIC: public or ipv6,
        AddressKind.IPV6: ipv6,
        AddressKind.DNS: instance.get("PublicDnsName") or instance.get("PrivateDnsName") or "",
        AddressKind.ID: instance.get("InstanceId") or "",
    }[address]


def ipv6_addresses(instance: Mapping[str, Any]) -> Iterator[str]:
    for interface in instance.get("NetworkInterfaces", ()):
        for each in interface.get("Ipv6Addresses", ()):
            yield each["Ipv6Address"]


def with_unique_names(hosts: Sequence[Host]) -> list[Host]:
    """Instances that share a Name are told apart by their ids."""
    times = Counter(host.name for host in hosts)
    return [replace(host, name=f"{host.name}/{host.instance_id}") if times[host.name] > 1 else host for host in hosts]


def described(hosts: Sequence[Host]) -> list[dict[str, Any]]:
    """The hosts as JSON values."""
    return [
        {
            "host": host.name,
            "address": host.address,
            "user": host.user,
            "port": host.port,
            "instance": host.instance_id,
            "state": host.state,
            "region": host.region,
            "type": host.kind,
            "tags": dict(host.tags),
        }
        for host in hosts
    ]
