"""Secrets are found by their formats and by what they are assigned to; placeholders and hashes are left alone."""

import time

import msgspec
import pytest

from gateway import Detector
from gateway_plugins.guardrails.secrets import Options, Secrets

BODY = "Zk3vT9qLw7RxY2mNb8PcD4sFgH6jKaQe"
HEX = "9f86d081884c7d659a2feaa0c55ad015"
KEY = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7v\nq8dK0aZ=\n-----END " + "RSA PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJlLXZhbHVl"
FOUND = [
    f"OPENAI_API_KEY=[[sk-proj-{BODY}]]", f"use [[sk-ant-api03-{BODY}]] please", f"[[sk-gw-{BODY}]]", f"key [[AIza{BODY}abc]]",
    "id [[AKIA" + "QYLPMN5HXKFTWEBD]]", f"[[ghp_{BODY}abcd]]", f"[[github_pat_{BODY}]]", f"[[glpat-{BODY[:20]}]]",
    "[[xoxb-" + f"123456789012-1234567890123-{BODY[:24]}]]", "[[sk_live_" + f"{BODY[:24]}]]", f"[[SG.{BODY[:22]}.{BODY}]]",
    f"[[SK{HEX}]]", f"//registry/:_authToken=[[npm_{BODY}abcd]]", f"[[pypi-AgEIcHlwaS5vcmc{BODY}]]", f"[[hf_{BODY}]]",
    f"[[{TOKEN}]]", f"cert:\n[[{KEY}]]\nend", f"Authorization: Bearer [[{BODY}]]", f"curl -H 'X-API-Key: [[{HEX}]]'",
    "DATABASE_URL=[[postgres://app:" + "Tr4ck9xQ@db.internal:5432/prod]]", "https://user:[[" + "Tr4ck9xQ]]@example.com/x",
    f"https://[[{BODY}]]@github.com/acme/app.git", "my password is [[Sommer2024!]]", 'password = "[[hunter2hunter]]"',
    "{'passwd': '[[n@9z1Of?4]]'}", "<password>[[n9z1OfE9R4]]</password>", "Mein Passwort lautet [[Regen7Tage]]",
    "contrase\u00f1a: [[Gato77negro]]", "\u5bc6\u7801\uff1a[[qwe8asd7zxc]]", "\u043f\u0430\u0440\u043e\u043b\u044c: [[Leto2024zima]]",
    "mysql --password=[[Tr4ck9xQ]]", "login: admin / [[Tr4ck9xQ]]", f"client_secret: '[[{BODY}]]'", f"AWS_SECRET_ACCESS_KEY=[[{BODY}+/abcde1]]",
    f"DefaultEndpointsProtocol=https;AccountKey=[[{BODY}{BODY}]];", f"https://x.example/c?a=1&sig=[[{BODY}{BODY[:8]}]]",
]
NOT_FOUND = [
    "password = \"changeme\"  # placeholder", "token: ${{ secrets.TOKEN }}", "api_key = os.environ['API_KEY']",
    "set YOUR_API_KEY_HERE before running", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "export TOKEN=<your-token-here-123456789>",
    "password: string", "password is required", "The password must be at least 8 characters.", "max_tokens: 1000",
    f"sha256:{HEX}{HEX}", f"commit {HEX}12345678", "integrity=\"sha512-u2jaBfaCjq+vFolq3SLizzAxUiyrQIWw==\"",
    "https://user:password@example.com", "postgres://user:password@localhost/db", "secret: getSecretFromVault('db1')",
    "token = request.headers['X-Token-1']", "the key takeaway is 2024-05-11T08:14:22Z", "password=None", "def reset_password(user1):",
    "ghp_your_token_goes_here_xxxxxxxxxxxxxxxx", "next_page_token: 123456789", "passwort vergessen? Klicken Sie hier",
    "key: my-second-deploy-key-2024", "AKIA" + "IOSFODNN7EXAMPLE", "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0\n-----END PUBLIC KEY-----",
]


@pytest.fixture(scope="module")
def detector() -> Secrets:
    return Secrets(Options())


def test_it_is_a_detector(detector):
    assert isinstance(detector, Detector)


@pytest.mark.parametrize("marked", FOUND)
def test_a_secret_is_found_where_it_stands(detector, marked):
    before, _, rest = marked.partition("[[")
    value, _, after = rest.rpartition("]]")
    found = detector.scan(before + value + after)
    assert [(f.kind, f.start, f.end) for f in found] == [("SECRET", len(before), len(before) + len(value))]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_is_no_secret_is_left_alone(detector, text):
    assert not detector.scan(text)


def test_a_private_key_is_covered_before_its_end_is_there(detector):
    for size in range(KEY.index("\n"), len(KEY)):
        (found,) = detector.scan("x " + KEY[:size])
        assert found.start == 2
        assert found.end >= 2 + len(KEY[:size].rstrip("\n-END RSAPIVTKY"))


def test_own_formats_and_values_that_are_known_to_be_harmless():
    options = {"patterns": [{"name": "BADGE", "pattern": r"\bbadge-[0-9a-f]{16}\b"}], "allow": ["sk-test-*"]}
    detector = Secrets(msgspec.convert(options, Options))
    assert [f.kind for f in detector.scan(f"badge-{HEX[:16]} sk-test-{BODY}")] == ["BADGE"]


HARD = [
    "sk-" * 60_000, "password: " * 20_000, "password" * 25_000, "eyJ" * 60_000, "://:" * 50_000, "a" * 200_000, "key=" * 50_000,
    "-----BEGIN " * 18_000, "-----BEGIN PRIVATE KEY-----" * 7_000, "api key " * 25_000, "login " * 33_000, "token a1b2c3d4e5f6g7h8i9j0 " * 7_000,
    "A1" * 100_000, "https://" * 25_000, "postgres://a:" * 15_000, "= " * 100_000, "\u5bc6\u7801:" * 60_000, "xoxb-11" * 28_000,
]


@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:12])
def test_no_text_takes_more_than_linear_time(detector, text):
    def seconds(some: str) -> float:
        began = time.thread_time()
        detector.scan(some)
        return time.thread_time() - began

    detector.scan(text[:1000])
    whole, part = seconds(text), min(seconds(text[: len(text) // 8]) for _ in range(2))
    assert whole < max(0.5, 24 * part)
    assert whole < 10
