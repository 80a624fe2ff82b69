"""Which keys are offered to a host, in OpenSSH's order: configured ones that the agent holds, its others, files.

`IdentitiesOnly` leaves out what the configuration does not name, not the agent: it may hold the key of a file that is
encrypted, or of which only the public half lies here.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.auth_strategy import (
    AuthFailure,
    AuthResult,
    AuthSource,
    AuthStrategy,
    InMemoryPrivateKey,
    NoneAuth,
    SourceResult,
)

from waiter.fleet.ssh.config import HostConfig

AGENT_S = 5.0
"""How long the agent may take to answer. One that asks its owner for each signature takes longer then, and may."""

SIGNING_S = 60.0


class AgentSilent(paramiko.SSHException):
    """The agent is there and does not answer."""


class KeyEncrypted(paramiko.SSHException):
    """A configured key needs a passphrase, and the agent does not hold it."""


class _AgentAt(AgentSSH):
    """The agent that listens at a socket."""

    _connect: Callable[[socket.socket], None]  # Paramiko's own, which its published types leave out

    def __init__(self, path: str) -> None:
        super().__init__()
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        agent.settimeout(AGENT_S)
        try:
            agent.connect(path)
        except OSError:
            agent.close()
            return  # a socket that outlived its agent
        try:
            self._connect(agent)
        except TimeoutError:
            agent.close()
            raise AgentSilent(f"the ssh-agent at {path} does not answer") from None
        agent.settimeout(SIGNING_S)


class Keys(AuthStrategy):
    """The keys for one host, offered one after the other."""

    def __init__(self, config: HostConfig) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._config = config
        self.encrypted: list[str] = []
        self.offered = 0
        self.is_half_done = False  # a key was right, and the host wants more than that

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Offer each until the host is content. Raises AuthFailure. Paramiko's own takes one factor of two for all."""
        results = AuthResult(strategy=self)
        for source in self.get_sources():
            try:
                wanted: Any = source.authenticate(transport)
            except (paramiko.SSHException, OSError, EOFError) as error:
                results.append(SourceResult(source, error))
            else:
                results.append(SourceResult(source, wanted))
                self.is_half_done |= bool(wanted)
            if transport.is_authenticated():
                return results
        raise AuthFailure(result=results)

    def get_sources(self) -> Iterator[AuthSource]:
        """Each key once. Raises AgentSilent."""
        config = self._config
        files = [file for file in config.identity_files if Path(file).exists() or Path(f"{file}.pub").exists()]
        held = {key.asbytes(): key for key in self._agent_keys()}
        wanted = {blob: file for file in files for blob in public_blobs(file)}
        in_agent = [held[blob] for blob in wanted if blob in held]
        others = [] if config.identities_only else [key for blob, key in held.items() if blob not in wanted]
        for key in (*in_agent, *others):
            yield self._offer(key)
        tried = {key.asbytes() for key in in_agent}
        for file in files:
            if tried.isdisjoint(public_blobs(file)):
                yield from self._from_file(file)
        if not self.offered:
            yield NoneAuth(config.user)

    def _agent_keys(self) -> tuple[AgentKey, ...]:
        return _AgentAt(self._config.agent).get_keys() if self._config.agent else ()

    def _offer(self, key: paramiko.PKey) -> AuthSource:
        self.offered += 1
        return InMemoryPrivateKey(self._config.user, key)

    def _from_file(self, file: str) -> Iterator[AuthSource]:
        try:
            key = paramiko.PKey.from_path(file)
        except paramiko.PasswordRequiredException:
            self.encrypted.append(file)
            return
        except (paramiko.SSHException, OSError, ValueError, TypeError):
            if Path(file).exists() and not public_blobs(file):
                self.log.info("%s is no private key", file)
            # `from_path` says of a key with a passphrase, in some formats, only that it makes no sense.
            if is_encrypted(file):
                self.encrypted.append(file)
            return
        for certificate in (f"{file}-cert.pub", *self._config.certificate_files):
            if Path(certificate).exists() and (signed := with_certificate(file, certificate)) is not None:
                yield self._offer(signed)
        yield self._offer(key)


def with_certificate(file: str, certificate: str) -> paramiko.PKey | None:
    """The key with a certificate that is its own, else None."""
    try:
        key: Any = paramiko.PKey.from_path(file)
        key.load_certificate(certificate)
    except (paramiko.SSHException, OSError, ValueError, TypeError):
        return None
    found: paramiko.PKey = key
    return found


def public_blobs(file: str) -> list[bytes]:
    """The public key of an IdentityFile, from `FILE.pub`, or from FILE itself where it is a public key."""
    for name in (f"{file}.pub", file):
        try:
            words = Path(name).read_bytes().split(None, 2)
            if len(words) >= 2 and words[0].startswith((b"ssh-", b"ecdsa-", b"sk-")):
                return [base64.b64decode(words[1], validate=True)]
        except (OSError, ValueError):
            continue
    return []


def is_encrypted(file: str) -> bool:
    try:
        content = Path(file).read_bytes()
    except OSError:
        return False
    return b"ENCRYPTED" in content or (b"OPENSSH PRIVATE KEY" in content and _has_cipher(content))


def _has_cipher(content: bytes) -> bool:
    """OpenSSH's own format names the cipher at its beginning (PROTOCOL.key of OpenSSH); `none` is no cipher."""
    body = b"".join(line for line in content.splitlines() if not line.startswith(b"-----"))
    try:
        return b"\0\0\0\x04none" not in base64.b64decode(body)[:64]
    except ValueError:
        return False
