"""`fleet leftovers`: machines that some launch made and that still cost money, and ending those that nobody has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from waiter.cli.console import confirm, say
from waiter.cli.fleet.life import named
from waiter.cli.fleet.options import KitchenNames, RunnerOptions
from waiter.cli.tables import show_json, show_table
from waiter.errors import FleetError, KitchenError, KitchenMissing
from waiter.kitchen import open_kitchen
from waiter.machines import Ledger, fleets_in
from waiter.report.cost import cost_of
from waiter.report.formatting import plural
from waiter.settings import settings

if TYPE_CHECKING:
    from waiter.fleet.aws import Ec2
    from waiter.fleet.life.leftovers import KitchenKnows, Leftover
    from waiter.fleet.life.losses import Gone
    from waiter.kitchen.contract import Kitchen


def show_leftovers(options: RunnerOptions, kitchen: KitchenNames, *, is_ending: bool, is_yes: bool) -> None:
    """Show them; end those of no fleet of this kitchen, if somebody says so."""
    from waiter.fleet.life.cloud import end_machines
    from waiter.fleet.life.leftovers import HEADER, found_in
    from waiter.fleet.tables import fitted

    clouds = asked_clouds(options)
    known = known_to(kitchen, clouds)
    with ThreadPoolExecutor(max_workers=8) as pool:
        found: list[Leftover] = [each for some in pool.map(lambda ec2: found_in(ec2, known), clouds) for each in some]
    if options.is_json:
        gone = [asdict(each) for each in known.gone]
        show_json({"verb": "leftovers", "machines": [each.to_json() for each in found], "gone": gone})
    else:
        if found:
            show_table(*fitted(HEADER, [each.cells() for each in found], ("REGION", "TYPE", "STATE")))
        for each in known.gone:
            say(each.words(known.now))
        say(plural(len(found), "machine"))
    if is_ending and not known.is_asked:
        raise FleetError("Nothing was ended: which machines are left over is not known without their kitchen")
    lost = [each for each in found if each.is_lost]
    if not is_ending:
        return
    if not lost:
        say("No machine is left over: each has its fleet here, or was not made by launch")
        return
    which = f"{named([each.id for each in lost])} that no fleet of this kitchen has"
    if options.dry_run:
        say(f"Would end {which}; nothing was done (--dry-run)")
    elif confirm(f"End {which}?", is_yes=is_yes):
        for ec2 in clouds:
            end_machines(ec2, [each.id for each in lost if each.region == ec2.region])
        say(f"Ended {plural(len(lost), 'machine')}")


def asked_clouds(options: RunnerOptions) -> list[Ec2]:
    """The regions that were named, else all that the account uses. Raises FleetError."""
    from waiter.fleet.aws import AwsRefused, Ec2

    regions = list(options.selection.regions)
    usual = Ec2(options.selection.profile, regions[0] if regions else None, say)
    if not regions:
        try:
            regions = [each["RegionName"] for each in usual.ask("describe_regions")["Regions"]]
        except AwsRefused as error:
            say(f"Only {usual.region} is asked: {error.sentence}\nhint: name the others, --region NAME, once for each")
            return [usual]
    return [usual.in_region(region) for region in sorted(regions)]


def known_to(names: KitchenNames, clouds: Sequence[Ec2]) -> KitchenKnows:
    """What this kitchen has in its ledgers, and when it heard from which waiter; nothing where there is none."""
    from waiter.fleet.life.leftovers import KitchenKnows

    if names.here is None:
        say("No kitchen is named that would know whose they are\nhint: --kitchen mongodb://HOST/")
        return KitchenKnows(time.time(), is_asked=False)
    try:
        with open_kitchen(names.here, names.db, create=False) as kitchen:
            fleets = fleets_in(kitchen)
            gone = [gone for fleet in fleets for gone in losses_in(kitchen, fleet, clouds)]  # which writes them down
            calls = [call for fleet in fleets for call in Ledger(kitchen, fleet).calls()]
            machines = [(machine, call) for call in calls for machine in call.machines if machine.is_living]
            now, prices = kitchen.now(), settings().prices
            return KitchenKnows(
                now=now,
                id=kitchen.id,
                calls={call.token for call in calls},
                ends={each.id: each.launched_at + call.max_life_s for each, call in machines if call.max_life_s},
                costs={each.id: cost_of(each, call, now, prices) for each, call in machines},
                shifts=kitchen.shifts(include_left=True),
                gone=gone,
            )
    except KitchenMissing:
        say("This kitchen does not exist (any more): no machine is in its ledger")
        return KitchenKnows(time.time())
    except KitchenError as error:
        say(str(error))
        return KitchenKnows(time.time(), is_asked=False)


def losses_in(kitchen: Kitchen, fleet: str, clouds: Sequence[Ec2]) -> list[Gone]:
    """What a fleet has lost lately, if it is in a region that is asked."""
    from waiter.fleet.life.launching import Account
    from waiter.fleet.life.losses import seen_losses

    ledger = Ledger(kitchen, fleet)
    region = (ledger.plan() or {}).get("region")
    found = [seen_losses(Account(ec2, ledger, say)) for ec2 in clouds if ec2.region == region]
    return [gone for some in found for gone in some]
