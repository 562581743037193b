"""Signatures are those of AWS's own library."""

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.awssigv4 import Credentials, signed

NOW = 1_795_000_000


def theirs(method, url, headers, body, credentials, region):
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    moment = datetime.fromtimestamp(NOW, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment.replace(tzinfo=None)):
        SigV4Auth(Theirs(credentials.access_key, credentials.secret_key, credentials.token or None), "bedrock", region).add_auth(request)
    return dict(request.headers)


@pytest.mark.parametrize("path", [
    "/model/anthropic.claude-v2/converse", "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream", "/", "/model/a%20b/invoke",
])
@pytest.mark.parametrize("token", ["", "a-session-token=="])
def test_a_signature_is_the_librarys(path, token):
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    url = f"https://bedrock-runtime.eu-west-1.amazonaws.com{path}"
    headers = {"content-type": "application/json", "x-spaces": "  a   b "}
    ours = signed("POST", url, headers, b'{"a":1}', credentials=credentials, region="eu-west-1", service="bedrock", now=NOW)
    expected = theirs("POST", url, headers, b'{"a":1}', credentials, "eu-west-1")
    assert ours["authorization"] == expected["Authorization"]
    assert ours["x-amz-date"] == expected["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == expected.get("X-Amz-Security-Token")


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=100), st.lists(st.tuples(st.text("abc-~ +/", min_size=1, max_size=5), st.text("xyz=& %", max_size=5)), max_size=3))
def test_a_signature_covers_body_and_query(body, pairs):
    from urllib.parse import quote

    credentials = Credentials("AKIDEXAMPLE", "secret")
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    url = "https://bedrock.us-east-1.amazonaws.com/foundation-models" + (f"?{query}" if query else "")
    ours = signed("GET", url, {}, body, credentials=credentials, region="us-east-1", service="bedrock", now=NOW)
    assert ours["authorization"] == theirs("GET", url, {}, body, credentials, "us-east-1")["Authorization"]


def test_credentials_never_print_themselves():
    assert "secret" not in repr(Credentials("AKIDEXAMPLE", "secret", "token"))
    assert "token" not in repr(Credentials("AKIDEXAMPLE", "secret", "token"))
