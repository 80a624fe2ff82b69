"""The only room that talks to AWS, and the words for what goes wrong there.

It needs `ec2:DescribeInstances` and nothing else; credentials, profiles and endpoints are boto3's own business. boto3
is imported when the cloud is asked: it takes its time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from waiter.errors import FleetError

ATTEMPTS = 4
"""How often a question is asked before AWS counts as silent or too busy."""

ANSWER_S = 12
"""How long AWS may be silent, each time it is asked."""

_BUSY = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled")


class Ec2:
    """EC2 in one region."""

    def __init__(self, profile: str | None, region: str | None, note: Callable[[str], None]) -> None:
        """None is what the environment or the configuration says. `note` is told when AWS makes us wait.

        Raises FleetError without a region, or for an unknown profile.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._profile = profile or os.environ.get("AWS_PROFILE") or None
        self.region = region or ""
        self._note = note
        self._is_noted = threading.Event()
        quick = Config(
            connect_timeout=10, read_timeout=ANSWER_S, retries={"total_max_attempts": ATTEMPTS, "mode": "standard"}
        )
        try:
            # boto3 reads AWS_DEFAULT_REGION only; all other tools of AWS read AWS_REGION, first.
            session = boto3.Session(profile_name=profile, region_name=region or os.environ.get("AWS_REGION") or None)
            self._client: Any = session.client("ec2", config=quick)
        except (BotoCoreError, ValueError) as error:
            raise self._failure(error) from error
        self.region = str(self._client.meta.region_name)
        self._client.meta.events.register("needs-retry.ec2", self._say_why_it_waits)

    def instances(self, filters: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """All pages of DescribeInstances, by instance id. Raises FleetError."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            pages = self._client.get_paginator("describe_instances").paginate(
                Filters=filters, PaginationConfig={"PageSize": 1000}
            )
            return {
                instance["InstanceId"]: instance
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            }
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise self._failure(error) from error
        except (EOFError, OSError) as error:
            # A role that wants a second factor asks for it on the terminal.
            who = f"profile {self._profile}" if self._profile else "the AWS profile"
            raise FleetError(
                f"{who} asks for an MFA code, and there is no terminal to ask on ({type(error).__name__}).\n"
                "hint: run it in a terminal, or put the session's credentials into the environment"
            ) from error

    def _say_why_it_waits(self, response: Any, **_facts: Any) -> None:
        """botocore asks its handlers before each retry; None leaves the decision to the others."""
        code = (response[1].get("Error") or {}).get("Code") if response else None
        if code in _BUSY and not self._is_noted.is_set():
            self._is_noted.set()
            self._note(f"AWS{self._where()} asks for patience ({code}); trying again.")

    def _where(self) -> str:
        return f" in {self.region}" if self.region else ""

    def _failure(self, error: Exception) -> FleetError:
        return FleetError(in_words(error, self._profile, self._where()))


def in_words(error: Exception, profile: str | None, where: str) -> str:
    """What went wrong between us and AWS, and what to do. `where` is " in REGION", or empty."""
    # Errors of the connection have a response of None.
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", type(error).__name__))
    login = f"aws sso login{f' --profile {profile}' if profile else ''}"
    unknown = (f"AWS{where} knows no such credentials", "run: aws configure, or give --profile NAME")
    expired = ("the AWS session has expired, or this machine's clock is off", f"run: {login}")
    silent = (f"AWS{where} does not answer", "check the network, --region and AWS_ENDPOINT_URL")
    broken = (f"the connection to AWS{where} broke off", "try again; check the network (a proxy?) and AWS_ENDPOINT_URL")
    busy = (f"AWS{where} is asked too much (it throttles this account)", "try again in a minute")
    known = {
        "NoCredentialsError": ("no AWS credentials", f"run: aws configure (or {login}), or give --profile NAME"),
        "PartialCredentialsError": ("half of the AWS credentials are missing", "run: aws configure"),
        "NoRegionError": ("no AWS region", "give --region NAME, or run: aws configure set region NAME"),
        "ProfileNotFound": (f"no AWS profile {profile!r}", "see: aws configure list-profiles"),
        "UnauthorizedOperation": (
            f"AWS{where} refuses: the credentials need ec2:DescribeInstances",
            "docs/fleet.md has the policy",
        ),
        "ResponseParserError": (
            f"what answers is no AWS{where}",
            "check the network (a proxy?), --region and AWS_ENDPOINT_URL",
        ),
        "OptInRequired": (f"this account does not use AWS{where}", "leave that --region out, or enable it"),
        **dict.fromkeys(("AuthFailure", "InvalidClientTokenId"), unknown),
        **dict.fromkeys(("RequestExpired", "ExpiredToken", "ExpiredTokenException"), expired),
        **dict.fromkeys(("TokenRetrievalError", "UnauthorizedSSOTokenError"), expired),
        "SSOTokenLoadError": ("nobody has logged in to AWS SSO yet", f"run: {login}"),
        **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"), silent),
        **dict.fromkeys(
            ("ConnectionClosedError", "ConnectionError", "HTTPClientError", "ProxyConnectionError"), broken
        ),
        **dict.fromkeys(("ResponseStreamingError", "IncompleteReadError"), broken),
        **dict.fromkeys(_BUSY, busy),
    }
    if code in known:
        return "{}.\nhint: {}".format(*known[code])
    return f"AWS{where}: {' '.join(str(error).split())}"
