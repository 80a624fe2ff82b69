"""The only room that talks to AWS, and the words for what goes wrong there.

Verbs that find hosts need `ec2:DescribeInstances` and nothing else; what `launch` and `terminate` need is in
docs/launch.md. Credentials, profiles and endpoints are boto3's own business. boto3 is imported when the cloud is asked:
it takes its time.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from waiter.errors import FleetError

ATTEMPTS = 4
"""How often a question is asked before AWS counts as silent or too busy."""

ANSWER_S = 30
"""How long AWS may be silent, each time it is asked."""

PRICES_REGION = "us-east-1"
"""Where Amazon's price list is asked for, whatever region it is about."""

_PLAIN_LINUX = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
"""What a machine is in the words of that list, if nobody bought or installed anything besides."""

_BUSY = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled")


class AwsRefused(FleetError):
    """AWS understood, and said no: nothing was done."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


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
            self._session, self._config = session, quick
        except (BotoCoreError, ValueError) as error:
            raise self._failure(error) from error
        self.region = str(self._client.meta.region_name)
        self._client.meta.events.register("needs-retry.ec2", self._say_why_it_waits)

    def in_region(self, region: str) -> Ec2:
        """The same account elsewhere. Quicker than one anew, which reads all that EC2 can do once more."""
        other = copy.copy(self)
        other.region = region
        other._client = self._session.client("ec2", region_name=region, config=self._config)
        other._client.meta.events.register("needs-retry.ec2", other._say_why_it_waits)
        return other

    def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Do one thing, as `create_fleet`. Raises AwsRefused; FleetError where it may or may not have been done."""
        return self._ask(self._client, operation, parameters)

    def price_list(self, kind: str) -> list[str]:
        """What Amazon's price list has for on-demand machines of this type with Linux, here: each entry as JSON.

        Raises FleetError soon: nobody waits long for a price.
        """
        from botocore.config import Config

        soon = Config(connect_timeout=4, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})
        client = self._session.client("pricing", region_name=PRICES_REGION, config=soon)
        facts = {"instanceType": kind, "regionCode": self.region, **_PLAIN_LINUX}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in facts.items()]
        answer = self._ask(client, "get_products", {"ServiceCode": "AmazonEC2", "Filters": filters})
        return [str(each) for each in answer.get("PriceList", ())]

    def _ask(self, client: Any, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        try:
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
            if code in _BUSY or status >= 500:
                raise self._failure(error) from error
            raise AwsRefused(str(self._failure(error)), code) from error
        except ParamValidationError as error:
            raise AwsRefused(str(self._failure(error)), "ParamValidation") from error
        except (BotoCoreError, ResponseParserError) as error:
            raise self._failure(error) from error
        return answer

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
            self._note(f"AWS{self._where()} throttles requests ({code}); trying again.")

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
    busy = (f"AWS{where} throttles requests of this account", "try again in a minute")
    operation, needs = getattr(error, "operation_name", "DescribeInstances"), "the credentials need"
    policies = "docs/fleet.md and docs/launch.md have the policies"
    known = {
        "NoCredentialsError": ("no AWS credentials", f"run: aws configure (or {login}), or give --profile NAME"),
        "PartialCredentialsError": ("half of the AWS credentials are missing", "run: aws configure"),
        "NoRegionError": ("no AWS region", "give --region NAME, or run: aws configure set region NAME"),
        "ProfileNotFound": (f"no AWS profile {profile!r}", "see: aws configure list-profiles"),
        "UnauthorizedOperation": (f"AWS{where} refuses: {needs} ec2:{operation}", policies),
        "AccessDeniedException": (f"AWS refuses: {needs} pricing:{operation}", policies),
        "ResponseParserError": (
            f"the server that answers is not AWS{where}",
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
