"""What Hatch does for our distribution: manual pages go into the wheel, and it is not built beside a namesake."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OTHER = "waiter"
"""A distribution on PyPI that waits for conditions by polling, and whose module has our name."""


class Build(BuildHookInterface[Any]):
    """Looks where the installation is going to be: pip builds with the Python that it installs for, and would mix the
    files of both distributions.
    """

    PLUGIN_NAME = "custom"
    pages: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as Hatch calls it
        """Make the manual pages; raise SystemExit if the other distribution is installed."""
        self._refuse_beside_the_other()
        if self.target_name == "wheel":
            build_data["shared_data"][self._make_manual()] = "share/man/man1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made for the wheel."""
        if self.pages:
            self.pages.cleanup()

    def _make_manual(self) -> str:
        sys.path.insert(0, self.root)
        from website.man_pages import write_pages  # of this very tree

        self.pages = tempfile.TemporaryDirectory(prefix="waiter-man-")
        write_pages(Path(self.pages.name))
        return self.pages.name

    def _refuse_beside_the_other(self) -> None:
        site = Path(sysconfig.get_path("purelib"))
        if other := next(site.glob(f"{OTHER}-*.dist-info"), None):
            raise SystemExit(
                f"\n{site}: has the distribution {other.name.removesuffix('.dist-info')}, whose files would mix with "
                f"those of simple-waiter\nhint: pip uninstall {OTHER}, or install into an environment of its own: "
                "pipx install ."
            )
