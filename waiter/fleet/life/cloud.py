"""What a fleet's life asks of EC2: templates, machines, their states, their consoles, their end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waiter.errors import FleetError
from waiter.fleet.aws import AwsRefused, Ec2
from waiter.fleet.life.plan import TAG_CALL, TAG_FLEET, TAG_KITCHEN, LaunchPlan, template_data, template_name
from waiter.machines import Machine, Market, PoolError

AT_ONCE = 200
"""Machines that one call to see or to end them names; a filter of EC2's takes no more."""

LIVING_STATES = ("pending", "running", "stopping", "stopped")

_MOMENT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"\b((?:ssh|ecdsa)-[\w-]+) ([A-Za-z0-9+/=]{40,})")


@dataclass(frozen=True, slots=True)
class Brought:
    """What one CreateFleet brought."""

    machines: tuple[Machine, ...]
    errors: tuple[PoolError, ...]


def ensure_template(ec2: Ec2, plan: LaunchPlan) -> str:
    """The name of the launch template for this plan; it is made if it is not there. Raises FleetError."""
    content = template_data(plan, _theirs(ec2, plan.template) if plan.template else {})
    name = template_name(plan, content)
    tagged = [{"ResourceType": "launch-template", "Tags": [{"Key": TAG_FLEET, "Value": plan.fleet}]}]
    try:
        ec2.ask("create_launch_template", LaunchTemplateName=name, LaunchTemplateData=content, TagSpecifications=tagged)
    except AwsRefused as error:
        if error.code != "InvalidLaunchTemplateName.AlreadyExistsException":
            raise
    return name


def _theirs(ec2: Ec2, template: str) -> Mapping[str, Any]:
    by = "LaunchTemplateId" if template.startswith("lt-") else "LaunchTemplateName"
    try:
        found = ec2.ask("describe_launch_template_versions", **{by: template, "Versions": ["$Default"]})
    except AwsRefused as error:
        if not error.code.startswith("InvalidLaunchTemplate"):
            raise
        found = {}
    versions = found.get("LaunchTemplateVersions")
    if not versions:
        raise FleetError(f"no launch template {template} in {ec2.region}\nhint: check --launch-template and --region")
    return dict(versions[0]["LaunchTemplateData"])


def create_fleet(ec2: Ec2, request: Mapping[str, Any], now: float) -> Brought:
    """Make machines, or hear again which ones this very request made. Raises AwsRefused, FleetError."""
    answer = ec2.ask("create_fleet", **request)
    market = Market(request["TargetCapacitySpecification"]["DefaultTargetCapacityType"])
    machines = [
        Machine(
            id=instance_id,
            kind=str(group.get("InstanceType") or ""),
            market=Market(group.get("Lifecycle") or market),
            launched_at=now,
            zone=_override(group).get("AvailabilityZone"),
        )
        for group in answer.get("Instances", ())
        for instance_id in group.get("InstanceIds", ())
    ]
    errors = [
        PoolError(
            kind=_override(each).get("InstanceType"),
            subnet=_override(each).get("SubnetId"),
            market=each.get("Lifecycle"),
            code=str(each.get("ErrorCode")),
            words=" ".join(str(each.get("ErrorMessage") or "").split()),
        )
        for each in answer.get("Errors", ())
    ]
    return Brought(tuple(machines), tuple(errors))


def _override(group: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict((group.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {})


def instances_of(ec2: Ec2, fleet: str) -> dict[str, Mapping[str, Any]]:
    """What carries the fleet's tag, in any state, by id. A machine may be missing in its first moments."""
    return ec2.instances([{"Name": f"tag:{TAG_FLEET}", "Values": [fleet]}])


def instances_named(ec2: Ec2, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The instances with these ids, whatever tags they carry. A machine may be missing in its first moments."""
    found: dict[str, Mapping[str, Any]] = {}
    for first in range(0, len(ids), AT_ONCE):
        found |= ec2.instances([{"Name": "instance-id", "Values": list(ids[first : first + AT_ONCE])}])
    return found


def tagged_instances(ec2: Ec2) -> dict[str, Mapping[str, Any]]:
    """All that carries the tags of some fleet and is not gone, by id."""
    states = {"Name": "instance-state-name", "Values": list(LIVING_STATES)}
    return ec2.instances([{"Name": "tag-key", "Values": [TAG_FLEET]}, states])


def tags_of(instance: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


def state_of(instance: Mapping[str, Any]) -> str:
    return str(instance["State"]["Name"])


def is_made_by(instance: Mapping[str, Any], kitchen_id: str, fleet: str, tokens: Iterable[str]) -> bool:
    """Whether it has all our tags, and the ledger has its call."""
    tags = tags_of(instance)
    return tags.get(TAG_KITCHEN) == kitchen_id and tags.get(TAG_FLEET) == fleet and tags.get(TAG_CALL) in set(tokens)


def adopted(instance: Mapping[str, Any], now: float) -> Machine:
    """The ledger's words for an instance of ours that it does not name yet."""
    launched = instance.get("LaunchTime")
    return Machine(
        id=instance["InstanceId"],
        kind=str(instance.get("InstanceType") or ""),
        market=Market.SPOT if instance.get("InstanceLifecycle") == "spot" else Market.ON_DEMAND,
        launched_at=launched.timestamp() if launched is not None else now,
        zone=zone_of(instance),
    )


def zone_of(instance: Mapping[str, Any] | None) -> str | None:
    return ((instance or {}).get("Placement") or {}).get("AvailabilityZone")


def why_gone(instance: Mapping[str, Any] | None) -> str:
    """Why an instance is no more, in EC2's words."""
    if instance is None:
        return "EC2 knows it no more"
    said = (instance.get("StateReason") or {}).get("Message") or instance.get("StateTransitionReason")
    return " ".join(str(said or state_of(instance)).split())


def ended_at(instance: Mapping[str, Any] | None, now: float) -> float:
    """When an instance ended, where EC2 says it, else now."""
    said = _MOMENT.search(str((instance or {}).get("StateTransitionReason") or ""))
    return now if said is None else min(now, datetime.fromisoformat(f"{said[1]}+00:00").timestamp())


def host_keys(ec2: Ec2, instance_id: str) -> list[tuple[str, str]]:
    """The SSH keys that a machine wrote to its console at its first boot: types and keys; none yet is an empty list."""
    try:
        answer = _console(ec2, instance_id)
    except AwsRefused as error:
        if error.code == "InvalidInstanceID.NotFound":
            return []
        raise
    said = _KEYS.findall(str(answer.get("Output") or ""))  # botocore has decoded it
    return _KEY.findall(said[-1]) if said else []


def _console(ec2: Ec2, instance_id: str) -> dict[str, Any]:
    try:
        return ec2.ask("get_console_output", InstanceId=instance_id, Latest=True)
    except AwsRefused as error:
        if error.code not in ("UnsupportedOperation", "InvalidParameterValue"):
            raise
        return ec2.ask("get_console_output", InstanceId=instance_id)  # types before Nitro keep one of their boot


def end_machines(ec2: Ec2, ids: Sequence[str]) -> None:
    """End instances, by id. Those that EC2 knows no more are no error. Raises FleetError."""
    for first in range(0, len(ids), AT_ONCE):
        some = list(ids[first : first + AT_ONCE])
        try:
            ec2.ask("terminate_instances", InstanceIds=some)
        except AwsRefused as error:
            if error.code != "InvalidInstanceID.NotFound" or len(some) == 1:
                if error.code != "InvalidInstanceID.NotFound":
                    raise
                continue
            for each in some:
                end_machines(ec2, [each])


def remove_templates(ec2: Ec2, fleet: str) -> None:
    """Delete the launch templates that were made for the fleet."""
    found = ec2.ask("describe_launch_templates", Filters=[{"Name": f"tag:{TAG_FLEET}", "Values": [fleet]}])
    for template in found.get("LaunchTemplates", ()):
        if str(template["LaunchTemplateName"]).startswith(f"waiter-{fleet}-"):
            ec2.ask("delete_launch_template", LaunchTemplateId=template["LaunchTemplateId"])
