"""daemon/webhooks.py: who may be told, what is said, and the proof of it."""

import json
from dataclasses import replace

import pytest
from pydantic import SecretStr, ValidationError

from rlmwatch.contract.kinds import Kind
from rlmwatch.execution.webhooks import refusal, report, signed
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Usage
from rlmwatch.settings.model import WebhookSettings, webhook_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ALLOWED = WebhookSettings(allow=("hooks.example.org", "localhost:8080", "[::1]:9000"), secret=SecretStr(SECRET))
RUN = Run(
    run_id="20261124T100000Z-job-abc123",
    seq=1,
    path="jobs/a-job.json",
    kind=Kind.JOB,
    conversation="jobs/a-job",
    prompt="the secret question",
    options={},
    digest="sha256:x",
    status=RunStatus.COMPLETE,
    created_at="2026-11-24T10:00:00.000Z",
    completed_at="2026-11-24T10:00:05.000Z",
    result=Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="the answer", usage=Usage(10, 20, 0.5, 1)),
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/path?x=1",
        "https://hooks.example.org:443/",
        "http://HOOKS.example.org./",
        "http://localhost:8080/hook",
        "http://[::1]:9000",
    ],
)
def test_what_the_user_allows_may_be_told(url):
    """A host of the list at its usual port, and a host and port of the list, are allowed."""
    assert refusal(url, ALLOWED) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "https://evil.hooks.example.org/",
        "https://hooks.example.org.evil.org/",
        "https://hooks.example.org:8443/",
        "http://localhost/",
        "http://localhost:8081/",
        "http://127.0.0.1:8080/",
        "http://169.254.169.254/latest/meta-data",
        "https://hooks.example.org@evil.org/",
        "https://evil.org#@hooks.example.org/",
        "https://evil.org\\@hooks.example.org/",
        "http://user:word@localhost:8080/",
        "http://[::1]/",
        "ftp://hooks.example.org/",
        "https:///path",
        "https://hooks.example.org:99999999/",
        "http://[::1/",
        "http://[hooks.example.org]/",
    ],
)
def test_whatever_else_is_refused_in_words(url):
    """Another host or port, a user's name, a trick of spelling is refused, and no part of a password is told."""
    said = refusal(url, ALLOWED)
    assert "refused" in said
    assert "word" not in said


def test_nothing_is_told_without_an_allow_list_or_a_secret():
    """By default nobody is told anything; a report that cannot be signed is not sent."""
    assert "not in [webhooks] allow" in refusal("http://localhost:8080/", WebhookSettings(secret=SecretStr(SECRET)))
    assert "no secret" in refusal("http://localhost:8080/", WebhookSettings(allow=("localhost:8080",)))


@pytest.mark.parametrize("entry", ["https://example.org", "example.org/path", "*.example.org", "", "a b"])
def test_the_list_holds_hosts_and_nothing_else(entry):
    """A mistyped entry is an error of the configuration, and not an entry that never fits."""
    with pytest.raises(ValidationError):
        WebhookSettings(allow=(entry,))


@pytest.mark.parametrize(
    "secret", ["hunter2", "whsec_", "whsec_short", "whsec_!!!!", "x whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
)
def test_a_secret_must_be_one(secret):
    """A secret that is none is an error of the configuration, whose text says how to make one."""
    with pytest.raises(ValidationError, match="openssl rand"):
        WebhookSettings(secret=SecretStr(secret))


def test_the_signature_is_that_of_standard_webhooks():
    """The example of the specification's own libraries is signed as they sign it."""
    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        webhook_key(SecretStr(SECRET)),
        now="2021-02-25T15:02:10.500Z",
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_report_holds_how_it_went_and_never_what_was_asked():
    """The question is never told, the answer only if the user asks for that."""
    told = report(RUN, include_answer=False)
    assert "secret question" not in told
    assert "the answer" not in told
    values = json.loads(told)
    assert values["type"] == "job.complete"
    assert values["timestamp"] == "2026-11-24T10:00:05.000Z"
    assert values["data"]["job_id"] == "a-job"
    assert values["data"]["usage"]["cost_usd"] == 0.5
    assert json.loads(report(RUN, include_answer=True))["data"]["answer"] == "the answer"
    assert report(RUN, include_answer=False) == report(replace(RUN, published=True), include_answer=False)
