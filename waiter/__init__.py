"""Waiter spreads one command over a pile of inputs, on one machine or a fleet.

Importing this package loads nothing else: the runner process and `waiter --help` start from it.
"""

__version__ = "1.0.0"
