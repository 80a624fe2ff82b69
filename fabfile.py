"""`fab fleet.start --tag=crunch --cmd=./crunch.sh`: the fleet's verbs, from waiter.fleet.tasks."""

from invoke.collection import Collection

from waiter.fleet.tasks import fleet_tasks

ns = Collection(fleet_tasks())
