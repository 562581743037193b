"""Google's dialect as stages see it: requests, texts on their way, records as events, both framings, errors."""

import json

import pytest

from gateway.dialects.gemini import GeminiArray, GeminiCount, GeminiDialect
from gateway.errors import InvalidRequest, RateLimited, Unauthenticated, UpstreamCut
from gateway.events import Finish, Opaque, Text
from gateway.filters import FilterChain

SSE, ARRAY = GeminiDialect(), GeminiArray()
PARAMS = {"model": "gemini-2.5-flash", "action": "generateContent"}


def decoded(body, dialect=SSE, **params):
    return dialect.decode(json.dumps(body).encode(), body, {**PARAMS, **params})


def test_the_model_and_the_stream_come_from_the_path():
    request = decoded({"contents": []}, model="models/gemini-2.5-pro", action="streamGenerateContent")
    assert (request.model, request.stream) == ("gemini-2.5-pro", True)
    assert not decoded({"contents": []}).stream


def test_cap_and_candidates_are_read_in_either_spelling():
    request = decoded({"generation_config": {"max_output_tokens": "20", "candidate_count": 3}})
    assert (request.max_output, request.choices) == (20, 3)


@pytest.mark.parametrize("config", [{"maxOutputTokens": -1}, {"candidateCount": 0.5}, {"candidateCount": 1000}, [], "x"])
def test_a_number_that_cannot_be_is_refused(config):
    with pytest.raises(InvalidRequest):
        decoded({"generationConfig": config})


def test_only_the_cap_and_a_repeated_name_are_changed_for_a_target():
    request = decoded({"contents": [], "generationConfig": {"topK": 3}, "model": "models/mine"}, model="mine")
    assert SSE.changes(request, "mine", None) == {}
    assert SSE.changes(request, "theirs", 9) == {
        "generationConfig": {"topK": 3, "maxOutputTokens": 9}, "model": "models/theirs",
    }


REQUEST = {
    "systemInstruction": {"parts": [{"text": "sys"}]},
    "contents": [
        {"role": "user", "parts": [
            {"text": "hello"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/x"}},
        ]},
        {"role": "model", "parts": [
            {"functionCall": {"id": "c1", "name": "f", "args": {"id": "secret-id", "to": "ann"}}, "thoughtSignature": "c2ln"},
        ]},
        {"role": "user", "parts": [{"function_response": {"id": "c1", "name": "f", "response": {"name": "bob"}}}]},
    ],
    "tools": [{"functionDeclarations": [
        {"name": "f", "description": "does", "parameters": {"type": "OBJECT", "properties": {"to": {"type": "STRING", "description": "whom"}}}},
    ]}],
    "safetySettings": [{"category": "HARM", "threshold": "BLOCK_NONE"}], "labels": {"team": "red"},
}


def test_every_text_that_the_model_reads_is_found_and_no_name():
    assert SSE.texts(decoded(REQUEST)) == ["sys", "hello", "secret-id", "ann", "bob", "does", "whom"]


def test_texts_of_a_request_are_replaced_in_place():
    changed = SSE.map_texts(decoded(REQUEST), lambda text, part: text.upper() if part != "tools" else text)
    assert SSE.texts(changed) == ["SYS", "HELLO", "SECRET-ID", "ANN", "BOB", "does", "whom"]
    assert json.loads(changed.raw) == changed.body
    assert changed.body["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"
    same = decoded(REQUEST)
    assert SSE.map_texts(same, lambda text, _part: text) is same


def reply(parts, **more):
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0, **more}]}


def test_texts_of_a_reply_are_replaced_and_what_repeats_them_goes():
    body = reply(
        [{"text": "I think", "thought": True}, {"text": "secret"}, {"functionCall": {"name": "f", "args": {"to": ["secret"]}}}],
        groundingMetadata={"groundingSupports": [{"segment": {"text": "secret"}}]}, logprobsResult={"x": 1},
    )
    seen = []

    def change(text, part):
        seen.append((text, part))
        return text.replace("secret", "***")

    out = json.loads(SSE.map_reply_texts(json.dumps(body).encode(), change))
    assert seen == [("I think", "reasoning"), ("secret", "content"), ("secret", "arguments")]
    assert "secret" not in json.dumps(out)
    raw = json.dumps(body).encode()
    assert SSE.map_reply_texts(raw, lambda text, _part: text) is raw


def test_a_reply_that_is_no_json_is_cut():
    with pytest.raises(UpstreamCut):
        SSE.map_reply_texts(b"<html>", lambda text, _part: text)


def record(tree, dialect=SSE, first=True):
    data = json.dumps(tree).encode()
    return b"data: " + data + b"\r\n\r\n" if dialect is SSE else (b"[" if first else b",\r\n") + data


@pytest.mark.parametrize("dialect", [SSE, ARRAY])
def test_a_record_is_read_into_events(dialect):
    events = dialect.events(record(reply([{"text": "a"}, {"text": "b"}, {"functionCall": {"name": "f", "args": {"x": 1}}}]), dialect))
    assert [(type(event), getattr(event, "text", ""), getattr(event, "part", "")) for event in events] == [
        (Text, "ab", "content"), (Text, '{"x":1}', "arguments"), (Finish, "", ""),
    ]
    assert all(event.record.events == 3 for event in events)


def test_a_record_without_text_passes_as_it_is():
    tree = {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}, "index": 0}]}
    (event,) = SSE.events(record(tree))
    assert isinstance(event, Opaque)
    assert SSE.encode(event) == record(tree)


def test_an_error_in_a_stream_is_judged_as_text():
    first, _ = SSE.events(record({"error": {"code": 500, "message": "secret"}}))
    assert "secret" in first.text


class Redact:
    """A filter that takes a word out of every text."""

    def __init__(self, word):
        self.word = word

    async def feed(self, event):
        if isinstance(event, Text) and self.word in event.text:
            from msgspec.structs import replace

            return [replace(event, text=event.text.replace(self.word, "***"))]
        return [event]

    async def flush(self):
        return []


async def through(dialect, records, word="secret"):
    chain = FilterChain([Redact(word)], dialect.events, dialect.encode)
    out = b"".join([piece for one in records for piece in await chain.feed(one)])
    return out + b"".join(await chain.flush())


async def test_a_changed_record_keeps_what_is_no_text_and_nothing_of_what_was_taken():
    tree = reply(
        [{"text": "a secret", "thoughtSignature": "c2ln"}, {"inlineData": {"mimeType": "image/png", "data": "AA"}},
         {"functionCall": {"name": "f", "args": {"to": "secret"}, "id": "c1"}}],
        groundingMetadata={"groundingSupports": [{"segment": {"text": "a secret"}}]},
    )
    out = await through(SSE, [record(tree)])
    assert b"secret" not in out
    chunks = [json.loads(line[5:]) for line in out.split(b"\r\n") if line.startswith(b"data:")]
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    assert {"text": "a ***", "thoughtSignature": "c2ln"} in parts
    assert {"inlineData": {"mimeType": "image/png", "data": "AA"}} in parts
    assert {"functionCall": {"name": "f", "args": {"to": "***"}, "id": "c1"}} in parts
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_an_array_stays_an_array_when_its_objects_are_changed():
    records = [record(reply([{"text": "a secret"}]), ARRAY), record(reply([{"text": "fine"}]), ARRAY, first=False), b"\n]"]
    out = await through(ARRAY, records)
    assert b"secret" not in out
    tree = json.loads(out)
    said = [part["text"] for chunk in tree for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "a ***fine"


async def test_what_an_answer_rests_on_is_judged_too():
    """Grounding quotes the answer: it goes when a filter would change it."""
    tree = reply([{"text": ""}], groundingMetadata={"groundingSupports": [{"segment": {"text": "a secret"}}]})
    out = await through(SSE, [record(reply([{"text": "x"}])), record(tree)])
    assert b"secret" not in out
    untouched = await through(SSE, [record(tree)], word="absent")
    assert untouched == record(tree)


def tapped(dialect, pieces, *, whole=False):
    tap = dialect.tap(None, whole=whole, scrub=lambda data: data.replace(b"key", b"***"))
    return tap, [tap.feed(piece) for piece in pieces]


CHUNK = {"candidates": [{"content": {"parts": [{"text": "Hel"}]}, "index": 0}], "usageMetadata": {"promptTokenCount": 3}}
LAST = {**reply([{"text": "lo"}]), "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}


def test_the_record_that_ends_the_reply_waits_for_the_upstreams_end():
    tap, out = tapped(SSE, [record(CHUNK), record(LAST)])
    assert out == [record(CHUNK), b""]
    assert tap.complete
    assert tap.rest() == record(LAST)
    assert (tap.usage.input, tap.usage.output, tap.text_bytes, tap.records) == (3, 2, 5, 2)


def test_a_record_behind_it_lets_it_go():
    _, out = tapped(SSE, [record(LAST), record(CHUNK)])
    assert out == [b"", record(LAST) + record(CHUNK)]


def test_a_stream_without_a_finish_reason_is_not_complete():
    tap, _ = tapped(SSE, [record(CHUNK)])
    assert not tap.complete
    assert tap.rest() == b""


def test_a_blocked_prompt_is_a_complete_reply():
    tap, _ = tapped(SSE, [record({"promptFeedback": {"blockReason": "SAFETY"}})])
    assert tap.complete


def test_an_arrays_end_is_the_last_word():
    tap, out = tapped(ARRAY, [record(CHUNK, ARRAY), record(LAST, ARRAY, first=False) + b"\n]"])
    assert out == [record(CHUNK, ARRAY), b""]
    assert tap.rest() == record(LAST, ARRAY, first=False)
    assert tap.last == b"\n]"


@pytest.mark.parametrize(("sent", "begins"), [([], b"["), ([CHUNK], b",")])
def test_an_error_closes_an_array(sent, begins):
    tap, _ = tapped(ARRAY, [record(tree, ARRAY) for tree in sent])
    last = tap.fail(RateLimited("Slow down."))
    assert last.startswith(begins)
    whole = json.loads(b"".join([record(tree, ARRAY) for tree in sent]) + last)
    assert whole[-1]["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_an_upstreams_error_is_noted_and_cleaned():
    tap, out = tapped(SSE, [record({"error": {"code": 503, "message": "key", "status": "UNAVAILABLE"}})])
    assert tap.error == "UNAVAILABLE"
    assert b"key" not in out[0]


def test_errors_have_googles_shape():
    told = json.loads(SSE.error(RateLimited("Slow down.", retry_after=1.5), "req_1"))["error"]
    assert (told["code"], told["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"} in told["details"]
    told = json.loads(SSE.error(InvalidRequest("No.", param="contents"), "req_1"))["error"]
    assert told["status"] == "INVALID_ARGUMENT"
    assert told["details"][0]["fieldViolations"][0]["field"] == "contents"
    assert json.loads(SSE.error(Unauthenticated("Who?"), ""))["error"]["status"] == "UNAUTHENTICATED"
    assert SSE.is_error(b'[{"error":{"message":"x"}}]')
    assert not SSE.is_error(b"<html>")


def test_counting_is_free_and_can_be_estimated():
    count = GeminiCount()
    assert count.reported(b'{"totalTokens":13}').input == 0
    assert json.loads(count.counted(7)) == {"totalTokens": 7}
    assert not count.generates
