"""Personal data is found in the forms that people write, in any disguise; what only looks like it is left alone."""

import random
import time

import msgspec
import pytest

from gateway import Detector
from gateway.detect.pii import KINDS, PersonalData
from gateway_plugins.guardrails.pii import PII, Options

FOUND = [
    ("EMAIL", "write to [[j.o'neil+x@sub.example.co.uk]], please"),
    ("EMAIL", "\u8bf7\u8054\u7cfb[[li.wei@example.cn]]\u8c22\u8c22"),
    ("EMAIL", "[[jane (at) example (dot) org]]"),
    ("EMAIL", "mail me: [[jane at example dot org]]"),
    ("EMAIL", "[[jane&#64;example.org]]"),
    ("EMAIL", "my e-mail is [[jane at example.org]]"),
    ("EMAIL", "reach me at [[jane dot doe at example dot org]] or"),
    ("PHONE", "you can text [[612 345 678]]"),
    ("PHONE", "phone [[two one two five five five oh one four seven]]"),
    ("CREDIT_CARD", "[[4lll 1111 1111 1111]]"),
    ("CREDIT_CARD", "the committee met in the building. Pay with [[4111 1111 1111 1111]]"),
    ("EMAIL", "[[j a n e @ e x a m p l e . o r g]]"),
    ("EMAIL", "mail [[\uff4aane\uff20example.org]] ok"),
    ("PHONE", "call [[+49 (0) 30 123456]] now"),
    ("PHONE", "[[(212) 555-0147]]"),
    ("PHONE", "[[212.555.0147 x12]]"),
    ("PHONE", "Tel.: [[0151 2345678]]"),
    ("PHONE", "T\u00e9l [[01 42 68 53 00]]"),
    ("PHONE", "t [[0044 20 7946 0958]]"),
    ("PHONE", "\u7535\u8bdd\uff1a[[13812345678]]"),
    ("PHONE", "my phone is [[2 1 2 5 5 5 0 1 4 7]]"),
    ("CREDIT_CARD", "paid with [[4111 1111 1111 1111]] today"),
    ("CREDIT_CARD", "[[4111-1111-\n1111-1111]]"),
    ("CREDIT_CARD", "amex [[378282246310005]]"),
    ("CREDIT_CARD", "[[\uff14\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11]]"),
    ("US_SSN", "SSN [[123-45-6789]]"),
    ("US_SSN", "my social security number is [[123456789]]"),
    ("US_SSN", "[[1\u200b2\u200b3-45-6789]]"),
    ("US_ITIN", "ITIN [[912-70-1234]]"),
    ("IBAN", "to [[DE89 3704 0044 0532 0130 00]] by Friday"),
    ("IBAN", "[[gb82west12345698765432]]"),
    ("BANK_ACCOUNT", "routing number [[121000358]]"),
    ("BANK_ACCOUNT", "account number: [[12345678]]"),
    ("BANK_ACCOUNT", "sort code [[20-00-00]]"),
    ("DATE_OF_BIRTH", "DOB: [[1980-02-29]]"),
    ("DATE_OF_BIRTH", "geboren am [[12. M\u00e4rz 1980]]"),
    ("DATE_OF_BIRTH", "\u51fa\u751f\u65e5\u671f\uff1a[[1980\u5e745\u67083\u65e5]]"),
    ("PASSPORT", "passport no. [[C01X00T47]]"),
    ("PASSPORT", "passport number [[123456789]]"),
    ("NATIONAL_ID", "NINO [[QQ123456C]]".replace("QQ", "AB")),
    ("NATIONAL_ID", "codice fiscale [[RSSMRA85T10A562S]]"),
    ("NATIONAL_ID", "DNI [[12345678Z]]"),
    ("NATIONAL_ID", "Aadhaar [[2345 6789 0124]]"),
    ("NATIONAL_ID", "PAN [[ABCPD1234E]]"),
    ("NATIONAL_ID", "CPF [[529.982.247-25]]"),
    ("NATIONAL_ID", "\u8eab\u4efd\u8bc1 [[11010519491231002X]]"),
    ("IP_ADDRESS", "from [[203.0.113.9]]:443"),
    ("IP_ADDRESS", "host [[203[.]0[.]113[.]9]]"),
    ("IP_ADDRESS", "[[2001:db8::8a2e:370:7334]]"),
    ("MAC_ADDRESS", "eth0 [[00:1b:44:11:3a:b7]]"),
    ("CRYPTO", "send to [[1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa]]"),
    ("CRYPTO", "[[bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4]]"),
    ("CRYPTO", "[[0x52908400098527886E0F7030069857D2E4169EE7]]"),
    ("ADDRESS", "I live at [[742 Evergreen Terrace, Springfield, IL 62704]]."),
    ("ADDRESS", "Ich wohne in der [[Hauptstra\u00dfe 12a, 10115 Berlin]]."),
]
NOT_FOUND = [
    "order number 4111 1111 1111 1112", "SKU 7397-6988-6737", "version 10.2.3.4 was released", "Chapter 3.2.1.4",
    "ISBN 978-3-16-148410-0", "timestamp=1702863004004", "the population was 1,684,163", "lat=48.624895, lon=11.252437",
    "look at example.com", "npm install lodash@4.17.21 @types/node@18.11.9", "git@github.com:acme/app.git",
    "commit 5f8f18db48dabee9e9c7d8f49852cc35c13d65d3", "SSN 000-51-3871", "x[::2] and std::vector", "at 08:14:22 on 2024-05-11",
    "request id 94efdd21-8f84-4af4-a1a7-2fceb2f737ff", "IBAN GB64IKUE61321956907212 has a typo", "born in 1980",
    "in your e-mail you can raise a dispute at Mercury.com", "text = open('files/2554/2554.txt')", "so 4111 1111 1111 1112",
    "meeting on 2024-11-05", "GET /api/v2/items/838016784 200", "1 2 3 4 5 6 7 8 9 10 11 12", "01 02 03 04 05",
    "3.14159265358979 and 2.718281828", "EAN 4048459839656", "tracking 1Z5CGSRU6NZ7T8VG3F", "12 345 678 EUR",
]


@pytest.fixture(scope="module")
def detector() -> PII:
    return PII(Options())


def test_it_is_a_detector(detector):
    assert isinstance(detector, Detector)


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_what_people_write_is_found_where_it_stands(detector, kind, marked):
    before, _, rest = marked.partition("[[")
    value, _, after = rest.rpartition("]]")
    found = detector.scan(before + value + after)
    assert [(f.kind, f.start, f.end) for f in found] == [(kind, len(before), len(before) + len(value))]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_is_left_alone(detector, text):
    assert not detector.scan(text)


def test_a_kind_can_be_turned_off_and_names_on():
    text = "My name is Ada Lovelace, ada@example.org"
    detector = PII(msgspec.convert({"types": {"EMAIL": {"enabled": False}, "NAME": {}}}, Options))
    assert [(f.kind, text[f.start : f.end]) for f in detector.scan(text)] == [("NAME", "Ada Lovelace")]


def test_allowed_values_are_not_reported():
    detector = PII(msgspec.convert({"allow": ["*@Example.org"], "types": {"PHONE": {"allow": ["+49 30 123456"]}}}, Options))
    assert [f.kind for f in detector.scan("a@example.org b@example.com +49 30 123456 +49 30 654321")] == ["EMAIL", "PHONE"]


def test_each_kind_can_ask_for_more_certainty():
    text = "from 203.0.113.9"
    assert PII(Options()).scan(text)
    assert not PII(msgspec.convert({"types": {"IP_ADDRESS": {"min_score": 0.99}}}, Options)).scan(text)


def test_own_patterns_are_found_too():
    own = [{"name": "EMPLOYEE", "pattern": r"\bE[0-9]{6}\b"}, {"name": "CASE", "pattern": r"(?<=case )\w+", "span": 300}]
    detector = PII(msgspec.convert({"patterns": own}, Options))
    assert [(f.kind, f.start) for f in detector.scan("E123456 in case X9")] == [("EMPLOYEE", 0), ("CASE", 16)]
    assert detector.hold_back == 300


@pytest.mark.parametrize("own", [{"name": "bad name", "pattern": "x"}, {"name": "X", "pattern": "("}])
def test_own_patterns_that_cannot_work_are_refused_at_start(own):
    with pytest.raises((ValueError, msgspec.ValidationError)):
        PII(msgspec.convert({"patterns": [own]}, Options))


def test_every_text_has_an_answer(detector):
    generator = random.Random(7)
    signs = "0123456789 -./()+@:[]abcXYZ\n\u200b\uff11\u4f60\ud800\U0001f600\u0430DE&#64;"
    for _ in range(3000):
        text = "".join(generator.choices(signs, k=generator.randint(0, 60)))
        last = 0
        for finding in detector.scan(text):
            assert last <= finding.start < finding.end <= len(text)
            assert 0 <= finding.score <= 1
            assert finding.kind in KINDS
            last = finding.end


HARD = [
    "1" * 200_000, "1 " * 100_000, "1-" * 100_000, "a@" * 100_000, "a.b@c." * 33_000, "1.1.1.1." * 25_000, "a" * 200_000,
    "fe80::" * 33_000, "a at b dot " * 18_000, "DE12 " * 40_000, "( " * 100_000, "\u200b1" * 100_000, "AB12" * 50_000,
    "4111 1111 1111 1111 " * 10_000, "passport " * 22_000, "dob 1980-01-01 " * 13_000, "12 Main Street, " * 12_000,
    "account number 1" * 12_000, "+1 " * 60_000, "\n1" * 100_000, "Mr. " * 50_000, '"' * 200_000, "x dot " * 33_000,
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


def test_kinds_can_be_chosen():
    assert not PersonalData(["IBAN"]).scan("a@example.org 212-555-0147")
