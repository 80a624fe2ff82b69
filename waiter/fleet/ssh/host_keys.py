"""Whether a host is who it says it is: its key against known_hosts, as OpenSSH judges it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

from waiter.fleet.ssh import known_hosts
from waiter.fleet.ssh.config import HostConfig
from waiter.fleet.ssh.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown


@dataclass(slots=True)
class HostKeys:
    """What known_hosts says, read once for the whole verb, and whether a stranger is let in."""

    accept_new: bool
    _read: dict[tuple[str, ...], list[known_hosts.KnownKey]] = field(default_factory=dict)

    def of(self, config: HostConfig, instance_id: str | None = None) -> KnownHost:
        """Who this host is, as far as known_hosts knows; a launched machine's own keys come before those of its
        address."""
        if instance_id and (launched := launched_keys(instance_id)):
            keys, file = launched, known_hosts.fleet_file()
            return KnownHost(keys=keys, also=set(), revoked=set(), accept_new=False, file=file, name=instance_id)
        known = self._read.get(config.known_hosts)
        if known is None:
            known = self._read[config.known_hosts] = known_hosts.read([Path(file) for file in config.known_hosts])
        named = known_hosts.keys_of(config.key_name, known)
        # As OpenSSH does: the key of the same host on port 22 will do, but another one is no change.
        plain = known_hosts.keys_of(config.host, known)
        return KnownHost(
            keys=[key for key in named if not key.is_revoked],
            also={key.key for key in plain if not key.is_revoked},
            revoked={key.key for key in known if key.is_revoked},
            accept_new=self.accept_new or config.accepts_new,
            file=Path(config.known_hosts[0]),
            name=config.key_name,
        )


def launched_keys(instance_id: str) -> list[known_hosts.KnownKey]:
    """The keys that a launched machine wrote to its console, if it was read. They come while a verb runs."""
    return known_hosts.keys_of(instance_id, known_hosts.read([known_hosts.fleet_file()]))


class KnownHost(paramiko.MissingHostKeyPolicy):
    """Judges the key that one host shows. Paramiko knows of no keys, and so asks about every one."""

    def __init__(
        self,
        *,
        keys: list[known_hosts.KnownKey],
        also: set[bytes],
        revoked: set[bytes],
        accept_new: bool,
        file: Path,
        name: str,
    ) -> None:
        self._keys, self._also, self._revoked = keys, also, revoked
        self._accept_new, self._file, self._name = accept_new, file, name

    def transport(self, sock: Any, **facts: Any) -> paramiko.Transport:
        """A connection that asks first for the types of key that known_hosts has: a host mostly has several."""
        transport = paramiko.Transport(sock, **facts)
        offered = transport.get_security_options()
        types = {key.key_type for key in self._keys}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}  # one kind of key, signed in other ways
        offered.key_types = sorted(offered.key_types, key=lambda kind: kind not in types)
        return transport

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        blob, shown = key.asbytes(), f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"
        if blob in self._revoked:
            raise HostKeyRevoked(f"{shown} is revoked in {self._file}")
        if blob in {known.key for known in self._keys} or blob in self._also:
            return
        if any(known.key_type == key.get_name() for known in self._keys):
            is_default = self._file == Path.home() / ".ssh/known_hosts"
            line = shlex.join(["ssh-keygen", "-R", self._name, *([] if is_default else ["-f", str(self._file)])])
            raise HostKeyChanged(f"it shows {shown}, known_hosts has another", f"if the host was rebuilt: {line}")
        if self._keys:
            # A host in the middle has keys of other types too: never let in by itself.
            types = ", ".join(sorted({known.key_type for known in self._keys}))
            raise HostKeyUnknown(f"it shows {shown}, and known_hosts has other types of key for it: {types}")
        if not self._accept_new:
            raise HostKeyUnknown(f"it shows {shown}")
        try:
            known_hosts.remember(self._file, self._name, key.get_name(), blob)
        except OSError as error:
            raise HostKeyUnknown(f"its key cannot be remembered: {error}") from error
