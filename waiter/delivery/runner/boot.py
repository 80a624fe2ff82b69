"""How a Python is started that is the runner, its guard or its last guard."""

from __future__ import annotations

PYTHON_FLAGS = ("-I", "-S", "-X", "utf8", "-c")
"""No site packages, no variables of the user's: fast, light. UTF-8, because arguments are bytes, not the locale's."""

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from waiter.delivery.runner.{room} import main; main()"
"""What a fresh Python runs. Its arguments: the folder or zipapp of this package, then what the room wants."""
