"""Machines that Waiter itself makes and ends: the ledger of what was asked for, the launch, and the end."""
