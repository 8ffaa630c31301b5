"""STS: what is sent, and every refusal in words.

The answers are those of the AWS documentation (STS API Reference, "Common Errors", and the errors
of AssumeRole); the transport is httpx's own, so everything above the socket is production code.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.config import AwsSettings, Buckets
from ringfence.errors import (
    CredentialExpired,
    GrantNotEnforceable,
    IssueRefused,
    RegionMismatch,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.aws.provider import AwsProvider
from ringfence.providers.aws.sts import ATTEMPTS, StsClient, session_name
from ringfence.providers.aws.sts_refusals import PolicyTooLarge
from ringfence.scope import Scope, grants
from ringfence.secret import Secret

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/FlowLikeRuntimeRole"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BUCKETS = Buckets(meta="meta-bucket", content="content-bucket", log="log-bucket")
GRANTS = grants(Scope("billing", "auth0|42", "run1"))
ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/R/s</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAEXAMPLE</AccessKeyId>
      <SecretAccessKey>session-secret</SecretAccessKey>
      <SessionToken>session-token</SessionToken>
      <Expiration>2026-03-01T12:15:00Z</Expiration>
    </Credentials>
    <PackedPolicySize>40</PackedPolicySize>
  </AssumeRoleResult>
</AssumeRoleResponse>"""

Handler = Callable[[httpx.Request], httpx.Response]


def refusal(code: str, message: str, status: int = 400, **headers: str) -> httpx.Response:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
        f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
    return httpx.Response(status, text=body, headers=headers)


def settings(**changes: object) -> AwsSettings:
    values: dict[str, object] = {
        "region": "eu-west-1",
        "endpoint": None,
        "sts_endpoint": None,
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": Secret(SECRET),
        "session_token": None,
        "use_path_style": False,
        "runtime_role_arn": ROLE,
        "express": frozenset(),
    }
    return AwsSettings(**{**values, **changes})  # type: ignore[arg-type]


def provider(handler: Handler, **changes: object) -> AwsProvider:
    return AwsProvider(
        settings(**changes),
        BUCKETS,
        credential_ttl=timedelta(seconds=900),
        clock=lambda: NOW,
        transport=httpx.MockTransport(handler),
    )


def refused(handler: Handler, **changes: object) -> RingfenceError:
    with pytest.raises(RingfenceError) as caught:
        provider(handler, **changes).issue(GRANTS, session="run1")
    assert SECRET not in repr(caught.value) + str(caught.value)
    return caught.value


def test_what_is_sent_and_what_comes_of_it() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text=ANSWER)

    (credential,) = provider(handler).issue(GRANTS, session="run1")
    (request,) = seen
    form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
    assert str(request.url) == "https://sts.eu-west-1.amazonaws.com"
    assert form.pop("Policy") == provider(handler).plan(GRANTS)[0].text
    assert form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "ringfence-run1",
        "DurationSeconds": "900",
    }
    scope = "/eu-west-1/sts/aws4_request, "
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert scope in request.headers["authorization"]
    assert SECRET not in str(request.headers) + request.content.decode()
    # The end is the one that STS says, not one computed here.
    assert credential.expires_at == datetime(2026, 3, 1, 12, 15, tzinfo=UTC)
    assert credential.issued_at == NOW
    assert credential.fields["secret_access_key"].reveal() == "session-secret"
    assert "session-secret" not in repr(credential)
    assert all(enforced.exact for enforced in credential.enforcement)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"region": "cn-north-1"}, "https://sts.cn-north-1.amazonaws.com.cn"),
        ({"region": "us-gov-west-1"}, "https://sts.us-gov-west-1.amazonaws.com"),
        (
            {"sts_endpoint": "http://minio:9000", "endpoint": "http://minio:9000"},
            "http://minio:9000",
        ),
        ({"sts_endpoint": "https://sts.corp", "endpoint": "https://s3.corp"}, "https://sts.corp"),
    ],
)
def test_where_sts_is(changes: dict[str, object], url: str) -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url).rstrip("/"))
        return httpx.Response(200, text=ANSWER)

    provider(handler, **changes).issue(GRANTS, session="run1")
    assert seen == [url]


def test_the_installations_own_session_token_is_signed() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text=ANSWER)

    provider(handler, session_token=Secret("own-token")).issue(GRANTS, session="run1")
    assert seen[0].headers["x-amz-security-token"] == "own-token"
    assert "x-amz-security-token" in seen[0].headers["authorization"]


def test_without_a_role_nothing_is_issued_and_nobody_is_asked() -> None:
    error = refused(lambda _: pytest.fail("asked"), runtime_role_arn=None)
    assert isinstance(error, GrantNotEnforceable)
    assert "RUNTIME_ROLE_ARN" in str(error)


CASES = {
    "trust": (
        refusal("AccessDenied", "User: x is not authorized to perform: sts:AssumeRole", 403),
        IssueRefused,
        "trust policy",
    ),
    "keys": (refusal("InvalidClientTokenId", "bad", 403), IssueRefused, "AWS_ACCESS_KEY_ID"),
    "secret": (
        refusal("SignatureDoesNotMatch", "no", 403),
        IssueRefused,
        "AWS_SECRET_ACCESS_KEY",
    ),
    "expired": (refusal("ExpiredToken", "over", 403), CredentialExpired, "AWS_SESSION_TOKEN"),
    "packed": (
        refusal("PackedPolicyTooLarge", "Packed policy consumes 118% of allotted space"),
        PolicyTooLarge,
        "118%",
    ),
    "duration": (
        refusal("ValidationError", "DurationSeconds exceeds the MaxSessionDuration set"),
        IssueRefused,
        "RINGFENCE_CREDENTIAL_TTL",
    ),
    "region": (refusal("RegionDisabledException", "off", 403), RegionMismatch, "AWS_REGION"),
    "no role": (refusal("NoSuchEntity", "Role not found", 404), IssueRefused, "RUNTIME_ROLE_ARN"),
    "not sts": (
        httpx.Response(200, text="<html>Hello"),
        IssueRefused,
        "AWS_STS_ENDPOINT",
    ),
    "not sts 404": (httpx.Response(404, text=""), IssueRefused, "AWS_STS_ENDPOINT"),
    "no parts": (
        httpx.Response(200, text=ANSWER.replace("SessionToken", "Other")),
        IssueRefused,
        "SessionToken",
    ),
    "no time": (
        httpx.Response(200, text=ANSWER.replace("2026-03-01T12:15:00Z", "soon")),
        IssueRefused,
        "expiry",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_refusal_names_what_to_change(name: str) -> None:
    answer, kind, words = CASES[name]
    error = refused(lambda _: answer)
    assert type(error) is kind
    assert words in str(error)


def test_a_clock_that_is_off_is_told_by_how_much() -> None:
    ago = format_datetime(NOW - timedelta(hours=1), usegmt=True)
    error = refused(lambda _: refusal("SignatureDoesNotMatch", "expired", 403, date=ago))
    assert isinstance(error, CredentialExpired)
    assert "3600 s (ahead)" in str(error)


@pytest.mark.parametrize(
    "told", ["Signature expired: x is now earlier", "Signature not yet current"]
)
def test_a_clock_that_is_off_is_known_by_the_message_too(told: str) -> None:
    just_now = format_datetime(NOW - timedelta(seconds=2), usegmt=True)
    error = refused(lambda _: refusal("SignatureDoesNotMatch", told, 403, date=just_now))
    assert isinstance(error, CredentialExpired)
    # A difference of a second or two is none, and would only confuse.
    assert "The clock of this machine is off, so STS" in str(error)
    undated = refused(lambda _: refusal("RequestExpired", "late"))
    assert "The clock of this machine is off, so STS" in str(undated)


def test_a_refused_role_names_the_principal_that_asked() -> None:
    who = "<R xmlns='x'><Arn>arn:aws:iam::1:user/engine</Arn></R>"

    def handler(request: httpx.Request) -> httpx.Response:
        if b"GetCallerIdentity" in request.content:
            return httpx.Response(200, text=who)
        return refusal("AccessDenied", "no", 403)

    assert "arn:aws:iam::1:user/engine may not assume" in str(refused(handler))


def test_an_endpoint_out_of_reach_names_its_variable() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    here = {"endpoint": "http://minio:9000", "sts_endpoint": "http://minio:9000"}
    error = refused(handler, **here)
    assert isinstance(error, StorageUnreachable)
    assert "AWS_ENDPOINT" in str(error)
    assert error.exit_code == 4


@pytest.mark.parametrize(
    "busy",
    [refusal("Throttling", "Rate exceeded"), refusal("InternalFailure", "oops", 500)],
    ids=["throttled", "failing"],
)
def test_what_may_pass_is_tried_again_and_not_for_ever(busy: httpx.Response) -> None:
    answers: list[httpx.Response] = []
    naps: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        answers.append(busy)
        return busy

    client = StsClient(
        http=httpx.Client(transport=httpx.MockTransport(handler)),
        endpoint="https://sts.corp",
        where="AWS_STS_ENDPOINT",
        region="eu-west-1",
        keys=lambda: provider(handler)._keys(),
        sleep=naps.append,
    )
    with pytest.raises(StorageUnreachable):
        client.assume_role(
            role_arn=ROLE, session_name="s", policy="{}", duration=timedelta(seconds=900)
        )
    assert len(answers) == ATTEMPTS
    assert naps == sorted(naps)
    assert len(naps) == ATTEMPTS - 1


def test_a_policy_that_packs_badly_is_split_further() -> None:
    """STS's packed size cannot be computed before: two halves may go where the whole did not."""
    policies: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        policy = parse_qs(request.content.decode())["Policy"][0]
        if policy.count("arn:aws:s3:::content-bucket/") > 1:
            return refusal("PackedPolicyTooLarge", "Packed policy consumes 101%")
        policies.append(policy)
        return httpx.Response(200, text=ANSWER)

    credentials = provider(handler).issue(GRANTS, session="run1")
    areas = [grant.area for credential in credentials for grant in credential.grants]
    assert areas == [grant.area for grant in GRANTS]
    assert len(policies) == len(credentials) >= 3


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_session_name_is_legal_and_names_one_text(one: str, other: str) -> None:
    import re

    names = {session_name(one), session_name(other)}
    assert all(re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII) for name in names)
    assert len(names) == len({one, other})
