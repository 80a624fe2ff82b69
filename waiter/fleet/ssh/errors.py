"""What Paramiko and sockets raise, by name: every failure of a connection becomes a HostError that says what it was."""

from __future__ import annotations

import errno
import socket
from typing import TypeGuard

import paramiko
from paramiko.auth_strategy import AuthFailure
from paramiko.ssh_exception import NoValidConnectionsError

from waiter.fleet.problems import HostError, Problem
from waiter.fleet.ssh.auth import AgentSilent, Keys


class HostKeyUnknown(paramiko.SSHException):
    """The host showed a key, and known_hosts has none for it."""


class HostKeyChanged(paramiko.SSHException):
    """The host showed another key than known_hosts has: words, and the line that fixes it if that was expected."""


class HostKeyRevoked(paramiko.SSHException):
    """The host showed a key that known_hosts marks @revoked."""


_ERRNO = {
    errno.ECONNREFUSED: Problem.REFUSED,
    errno.EHOSTUNREACH: Problem.NO_ROUTE,
    errno.ENETUNREACH: Problem.NO_ROUTE,
    errno.EHOSTDOWN: Problem.NO_ROUTE,
    errno.EADDRNOTAVAIL: Problem.NO_ROUTE,
    errno.ETIMEDOUT: Problem.TIMEOUT,
    errno.ENOSPC: Problem.DISK,
}


def host_error_of(error: Exception) -> HostError:
    """The name of what a connection ran into."""
    words = str(error)
    match error:
        case HostKeyUnknown():
            return HostError(Problem.HOST_KEY_UNKNOWN, words)
        case HostKeyRevoked():
            return HostError(Problem.HOST_KEY_CHANGED, words, "the key is revoked: do not connect")
        case HostKeyChanged():
            return HostError(Problem.HOST_KEY_CHANGED, *error.args)
        case paramiko.AuthenticationException():
            is_late = "timeout" in words.lower()
            return HostError(Problem.TIMEOUT if is_late else Problem.KEY_REFUSED, words)
        case NoValidConnectionsError():
            codes = {_ERRNO.get(getattr(each, "errno", 0), Problem.UNEXPECTED) for each in error.errors.values()}
            return HostError(codes.pop() if len(codes) == 1 else Problem.NO_ROUTE, words.removeprefix("[Errno None] "))
        case paramiko.ChannelException():
            return HostError(Problem.NO_REPLY, f"it opens no session: {words}", "raise MaxSessions in its sshd_config")
        case paramiko.ProxyCommandFailure():
            return HostError(Problem.JUMP_HOST, words)
        case paramiko.SSHException():
            return _ssh_error(error, words)
        case socket.gaierror():
            return HostError(Problem.NO_NAME, words)
        case TimeoutError():
            return HostError(Problem.TIMEOUT, "it does not answer")
        case ConnectionError() | EOFError():
            is_refused = isinstance(error, ConnectionRefusedError)
            return HostError(Problem.REFUSED if is_refused else Problem.CONNECTION_LOST, words or type(error).__name__)
        case FileNotFoundError():
            return HostError(Problem.JUMP_HOST, f"ProxyCommand: {error.filename}: no such program")
        case OSError():
            return HostError(_ERRNO.get(error.errno or 0, Problem.UNEXPECTED), words)
    return HostError(Problem.UNEXPECTED, f"{type(error).__name__}: {words}")


def auth_error(keys: Keys, error: Exception) -> HostError | None:
    """Why none of the keys opened the host; None if the error is of another kind."""
    if isinstance(error, AgentSilent):
        return HostError(Problem.KEY_REFUSED, str(error), "restart the ssh-agent, or unset SSH_AUTH_SOCK")
    if not isinstance(error, AuthFailure):
        return None
    results = [each.result for each in error.result]
    words = "; ".join(dict.fromkeys(str(each) for each in results))
    refused = [each for each in results if "saw eof" not in str(each) and "No existing session" not in str(each)]
    if "too many authentication" in words.lower() or (refused and len(refused) < len(results)):
        # sshd says so and hangs up (MaxAuthTries); Paramiko hears of the second part only.
        return HostError(
            Problem.KEY_REFUSED,
            f"too many authentication failures: it hung up before all {keys.offered} keys were tried",
            "name the right one in ~/.ssh/config: IdentityFile, with IdentitiesOnly yes",
        )
    if keys.is_half_done:
        return HostError(
            Problem.KEY_REFUSED,
            "the key is right, and the host wants a second factor",
            "a fleet cannot type one: use a user or a host without it",
        )
    for result in results:
        if isinstance(result, (EOFError, OSError)) or _is_timeout(result):
            return host_error_of(result)
    if keys.encrypted:
        files = " ".join(keys.encrypted)
        return HostError(Problem.KEY_REFUSED, f"the private key is encrypted: {files}", f"ssh-add {files}")
    if not keys.offered:
        return HostError(Problem.KEY_REFUSED, "there is no key to offer")
    return HostError(Problem.KEY_REFUSED, words or "none of the keys was accepted")


def _is_timeout(error: object) -> TypeGuard[paramiko.AuthenticationException]:
    return isinstance(error, paramiko.AuthenticationException) and "timeout" in str(error).lower()


def _ssh_error(error: paramiko.SSHException, words: str) -> HostError:
    """Paramiko says most of it in words only."""
    low = words.lower()
    if "no authentication methods" in low:
        return HostError(Problem.KEY_REFUSED, "there is no key to offer")
    if "not a valid" in low and "private key" in low:
        return HostError(Problem.KEY_REFUSED, words)
    if "protocol banner" in low:
        # The greeting ran into its deadline, or the other side hung up during it (sshd's MaxStartups does).
        is_hung_up = isinstance(error.__context__, EOFError) or "eof" in low
        if is_hung_up:
            return HostError(Problem.CONNECTION_LOST, "it hung up before its greeting")
        return HostError(Problem.TIMEOUT, "it accepts connections, but does not respond")
    if "indecipherable" in low or "banner" in low or "incompatible version" in low:
        return HostError(Problem.NOT_SSH, words)
    if "no existing session" in low:  # Paramiko's words when its own time for the handshake is up
        return HostError(Problem.TIMEOUT, "it accepts connections, but does not respond")
    if "timeout" in low or "timed out" in low:
        return HostError(Problem.TIMEOUT, words)
    if "eof" in low or "session not active" in low or "not open" in low:
        return HostError(Problem.CONNECTION_LOST, words)
    return HostError(Problem.UNEXPECTED, words)
