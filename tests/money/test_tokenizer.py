"""The offline tokenizer comes close to what tokenizers with a vocabulary count, and to what real requests were billed."""
# ruff: noqa: RUF001 - full-width signs are what Chinese is written with

import json
import statistics
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import SHARED, needs_recordings
from waiting import measured

from gateway.money.tokenizer import _SAMPLE, _Count, count_request, count_text, family_of

# Counted with the vocabulary o200k_base.
COUNTED = {
    "The government announced on Wednesday a series of measures intended to support struggling companies, after a year marked by rising energy costs. Critics say the measures come too late and do not go far enough; economists, however, were cautiously optimistic.": 46,
    "Die Bundesregierung hat am Mittwoch einen Gesetzentwurf beschlossen, der die Beschleunigung von Genehmigungsverfahren vorsieht. Kritiker bemängeln, dass Umweltverträglichkeitsprüfungen dabei verkürzt würden. Über die Einzelheiten müssen die Länder noch verhandeln.": 57,
    "Le gouvernement a annoncé mercredi une série de mesures destinées à soutenir les entreprises en difficulté, après une année marquée par la hausse des coûts de l'énergie.": 32,
    "El gobierno anunció el miércoles una serie de medidas destinadas a apoyar a las empresas en dificultades tras un año marcado por el aumento de los costes de la energía.": 31,
    "Правительство объявило в среду о ряде мер, направленных на поддержку предприятий, оказавшихся в трудном положении после года, отмеченного ростом цен на энергию.": 38,
    "政府周三宣布了一系列旨在支持困难企业的措施，此前一年能源成本大幅上涨。反对派批评这些措施来得太晚，而且力度不够。": 38,
    "政府は水曜日、エネルギー価格の上昇に見舞われた一年を受けて、困難に直面している企業を支援するための一連の措置を発表した。": 49,
    "정부는 수요일 에너지 비용 상승으로 어려움을 겪은 한 해를 보낸 기업들을 지원하기 위한 일련의 조치를 발표했다.": 32,
    "أعلنت الحكومة يوم الأربعاء عن سلسلة من التدابير الرامية إلى دعم الشركات التي تواجه صعوبات بعد عام شهد ارتفاع تكاليف الطاقة.": 30,
    "a3f5c9d2e8b7416f0c2d9e8a7b6c5d4e 550e8400-e29b-41d4-a716-446655440000": 49,
}
# What a model reads beside the request: pages that it searched, files, what it had thought.
UNSEEN = ("base64", "image", "web_search", "encrypted", "code_execution", "file_search", "compact", "mcp", '"custom"')


@pytest.mark.parametrize("text", COUNTED, ids=lambda text: text[:12])
def test_a_text_has_about_as_many_tokens_as_a_real_tokenizer_counts(text):
    assert count_text(text) == pytest.approx(COUNTED[text], rel=0.15)


def billed(provider_families):
    """(estimate, billed) of every recorded request of these families of models whose text is all that was read."""
    for file in sorted(SHARED.glob("recordings/**/*.json")):
        recording = json.loads(file.read_text()) if file.name != "index.json" else {"request": {}}
        body, reply = recording["request"].get("body"), recording.get("response", {}).get("body")
        if not isinstance(body, dict) or not isinstance(reply, dict) or any(word in json.dumps(body) for word in UNSEEN):
            continue
        usage = reply.get("usage") or reply.get("usageMetadata") or {}
        told = usage.get("prompt_tokens") or usage.get("input_tokens") or usage.get("promptTokenCount")
        model = recording.get("model") or body.get("model") or ""
        known = [name for name in provider_families if name in family_of(model).names]
        if told and known and "compact" not in recording["endpoint"]:
            yield count_request(body, model, chat="mbed" not in recording["endpoint"]), told


@needs_recordings
def test_recorded_requests_are_estimated_within_some_percent_of_what_was_billed():
    """Models of OpenAI: their way to read messages and tools is known."""
    ratios = [estimate / told for estimate, told in billed(("gpt-", "gpt-oss"))]
    assert len(ratios) >= 20
    assert statistics.median(ratios) == pytest.approx(1, abs=0.05)
    off = sorted(abs(ratio - 1) for ratio in ratios)
    assert off[len(off) * 3 // 4] < 0.15
    assert statistics.mean(off) < 0.12


@needs_recordings
def test_all_recorded_requests_together_are_estimated_as_they_were_billed():
    found = list(billed(("gpt-", "gpt-oss", "claude", "gemini", "nova")))
    assert len(found) > 40
    estimates, told = (sum(each) for each in zip(*found, strict=True))
    assert estimates == pytest.approx(told, rel=0.25)


@given(st.text(max_size=300))
def test_any_text_has_a_number_of_tokens(text):
    assert 0 <= count_text(text) <= 3 * len(text) + 1
    assert count_text(text + text) <= 2 * count_text(text) + 2


def test_pictures_and_names_of_kinds_are_no_text():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]}
    assert count_request(body, "gpt-4o") == 11
    assert count_request({"input": list(range(7))}, "text-embedding-3-small", chat=False) == 7


@measured
def test_a_long_conversation_is_looked_at_in_parts_and_stops_nobody():
    """Counting runs on the loop: a megabyte takes some milliseconds, and comes to what all of it would."""
    message = "Please summarise section 12 of the annual report, and compare it to the figures of last year. "
    messages = [{"role": "user", "content": message * 10} for _ in range(1200)]
    body = msgspec.json.decode(msgspec.json.encode({"messages": messages}))
    began = time.perf_counter()
    counted = count_request(body, "gpt-4o")
    assert time.perf_counter() - began < 0.2
    assert counted == pytest.approx(1200 * (10 * count_text(message) + 4), rel=0.05)
    count = _Count()
    count.value(body)
    assert count._looked < 2 * _SAMPLE
