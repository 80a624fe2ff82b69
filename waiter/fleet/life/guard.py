"""The guard: a few lines of shell in each machine's user-data that end it when nobody needs it.

It needs no credentials and holds no secret: user-data can be read by whoever may describe the instance. It goes by
what the waiter writes into a file (`waiter.host.sign_of_life`), and by the machine's uptime, whatever sets its clock.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from waiter.errors import FleetError

ARRIVAL_S = 1200.0
"""How long after its boot a machine waits for somebody to come."""

MOST_BYTES = 16_384
"""As much user-data EC2 takes, before base64."""

_SCRIPT = """\
#!/bin/sh
# Waiter's guard: ends this machine when nobody needs it
idle={idle} life={life} wait={wait}
p=/var/lib/cloud/scripts/per-boot b=/root/.waiter-born
[ -d $p ] && [ ! -e $p/waiter-guard ] && cp "$0" $p/waiter-guard && chmod 700 $p/waiter-guard
mkdir -p /run/waiter && chmod 1777 /run/waiter
[ -s $b ] || date +%s >$b
up() {{ read -r u _ </proc/uptime; u=${{u%%.*}}; }}
end() {{ echo "waiter-guard: $1" | tee /dev/console >/run/waiter/end; shutdown -P now; }}
guard() {{
up
t=$u s=
while sleep {step}; do
up
n=$(cat /run/waiter/alive* 2>/dev/null)
[ "$n" != "$s" ] && s=$n t=$u wait=$idle
[ $((u - t)) -ge $wait ] && end "nobody works here"
[ $(($(date +%s) - $(cat $b))) -ge $life ] && end "its longest life is over"
done
}}
guard </dev/null >/dev/null 2>&1 &
echo $! >/run/waiter/guard
"""


@dataclass(frozen=True, slots=True)
class GuardTimes:
    """When a machine is to end by itself, in seconds."""

    idle_s: float  # its waiter has been gone or without orders
    max_life_s: float  # since its first boot
    arrival_s: float = ARRIVAL_S  # nobody came since boot

    @property
    def look_s(self) -> int:
        """How often the guard looks."""
        return max(1, min(15, int(min(self.idle_s, self.max_life_s, self.arrival_s) // 4)))


def guard_script(times: GuardTimes) -> str:
    return _SCRIPT.format(
        idle=max(1, round(times.idle_s)),
        life=max(1, round(times.max_life_s)),
        wait=max(1, round(times.arrival_s)),
        step=times.look_s,
    )


def user_data(times: GuardTimes, theirs: bytes = b"") -> bytes:
    """The guard, together with a user's own user-data if there is some. Raises FleetError if that is too long."""
    script = guard_script(times)
    whole = _merged(theirs, script) if theirs.strip() else script.encode()
    if len(whole) > MOST_BYTES:
        raise FleetError(
            f"the launch template's user-data and Waiter's guard are {len(whole):,} bytes; EC2 takes {MOST_BYTES:,}\n"
            "hint: let the user-data fetch what it needs instead of holding it"
        )
    return whole


_TYPES = (
    (b"#cloud-config", "cloud-config"),
    (b"#!", "x-shellscript"),
    (b"#cloud-boothook", "cloud-boothook"),
    (b"#include", "x-include-url"),
    (b"## template: jinja", "jinja2"),
)
"""What cloud-init takes user-data for, by how it begins."""


def _merged(theirs: bytes, script: str) -> bytes:
    """Both as parts of one message, theirs first: cloud-init runs scripts one after the other."""
    # No random boundary: the same plan is the same template.
    message = MIMEMultipart(boundary=f"waiter-{hashlib.sha256(theirs + script.encode()).hexdigest()[:32]}")
    kind = next((kind for begin, kind in _TYPES if theirs.startswith(begin)), None)
    if kind:
        message.attach(MIMEText(theirs.decode("utf-8", "surrogateescape"), kind))
    elif theirs.lower().startswith((b"content-type:", b"mime-version:")):
        from email import message_from_bytes

        message.attach(message_from_bytes(theirs))
    else:  # packed, or something that cloud-init knows by itself
        part = MIMEBase("application", "octet-stream")
        part.set_payload(base64.encodebytes(theirs).decode())
        part["Content-Transfer-Encoding"] = "base64"
        message.attach(part)
    guard = MIMEText(script, "x-shellscript")
    guard.add_header("Content-Disposition", "attachment", filename="waiter-guard.sh")
    message.attach(guard)
    return message.as_bytes()
