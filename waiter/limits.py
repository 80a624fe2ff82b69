"""How much of what a command takes and gives an order may hold.

A module of its own, without imports: the runner's process, which stays light, needs the same numbers as the rest.
"""

TAIL_BYTES = 4096
"""How much of the end of a command's output stays with an order."""

RESULT_BYTES = 64 * 1024
"""How much a command may hand back through $WAITER_RESULT."""

MESSAGE_BYTES = 2048
"""How much a command may say through $WAITER_ERROR."""

ARGUMENTS_BYTES = 8 * 1024 * 1024
"""The most that one order's arguments may hold. Linux starts no command with more than 6 MiB of them."""
