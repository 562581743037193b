"""Every recorded embedding, read and written again by the codecs of its format; and damaged ones."""

import copy
import json
import random

import pytest
from geminis import recordings
from recordings import needs_recordings

from gateway.codec import Translation
from gateway.dialects.codecs import codec
from gateway.dialects.gemini import GeminiDialect
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Request, Target


class Provider:
    name = "g"


EMBED = {"embedContent": "gemini.embed", "batchEmbedContents": "gemini.batchEmbed", "predict": "vertex.predict"}
RECORDED = [(name, rec) for name, rec in recordings(*EMBED) if rec["response"]["status"] == 200]


@needs_recordings
@pytest.mark.parametrize(("name", "recording"), RECORDED, ids=[name for name, _ in RECORDED])
def test_recorded_embeddings_are_the_same_after_being_read_and_written(name, recording):
    """`predict` has no client: its requests are not read. Names are compared in camel case."""
    made = codec(EMBED[recording["endpoint"]])
    told = Translation("req_1")
    body = recording["request"]["body"]
    if recording["endpoint"] != "predict":
        asked = made.read_request(Request(b"", body, recording["model"]))
        written = made.write_request(asked, Target(Provider(), recording["model"]), told)
        assert camel(written) == camel(body)
        assert told.dropped == []
    answer = made.read_reply(json.dumps(recording["response"]["body"]).encode(), told)
    assert all(len(vector) > 100 for vector in answer.vectors)
    if recording["endpoint"] != "predict":
        again = json.loads(made.write_reply(answer, None, told))
        kept = recording["response"]["body"]
        assert again.get("embeddings", again.get("embedding")) == kept.get("embeddings", kept.get("embedding"))


def camel(tree):
    if isinstance(tree, list):
        return [camel(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    words = {name: name.split("_") for name in tree}
    return {first + "".join(map(str.title, rest)): camel(tree[name]) for name, (first, *rest) in words.items()}


@needs_recordings
def test_mutated_recordings_raise_errors_of_the_tree_only():
    dice = random.Random(3)
    junk = [None, 1, "x", [], {}, [None], True, 2**70]
    for _name, recording in RECORDED:
        for _ in range(30):
            tree = copy.deepcopy({"q": recording["request"]["body"], "a": recording["response"]["body"]})
            holder = tree[dice.choice("qa")]
            while isinstance(holder, dict | list) and holder:
                key = dice.choice(list(holder)) if isinstance(holder, dict) else dice.randrange(len(holder))
                if not isinstance(holder[key], dict | list) or dice.random() < 0.3:
                    holder[key] = copy.deepcopy(dice.choice(junk))
                    break
                holder = holder[key]
            for dialect in ("openai.embeddings", *EMBED.values()):
                attempt(codec(dialect), tree, dialect)


def attempt(made, tree, dialect):
    told = Translation("req_1")
    for step in (
        lambda: made.write_request(made.read_request(Request(b"", tree["q"], "m")), Target(Provider(), "m"), told),
        lambda: made.write_reply(
            made.read_reply(json.dumps(tree["a"]).encode(), told),
            codec("openai.embeddings").read_request(Request(b"", {"input": "a"}, "m")), told,
        ),
        lambda: GeminiDialect().texts(Request(b"", tree["q"], "m")),
    ):
        try:
            step()
        except GatewayError:
            continue


def test_settings_that_differ_inside_a_batch_are_refused():
    one = {"content": {"parts": [{"text": "a"}]}}
    body = {"requests": [one, {**one, "taskType": "CLUSTERING"}]}
    with pytest.raises(InvalidRequest, match="same settings"):
        codec("gemini.batchEmbed").read_request(Request(b"", body, "m"))
