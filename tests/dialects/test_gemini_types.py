"""What goes out to Gemini, and what its clients get, against the published types of Google's own client."""

import json
import warnings
from pathlib import Path

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google.genai import types

HOME = Path(__file__).resolve().parent.parent / "conversations"
SENT = {
    str(file.relative_to(HOME)): told["upstream"]["body"]
    for file in sorted(HOME.glob("*/gemini/*.yaml")) if "upstream" in (told := yaml.safe_load(file.read_text()))
}
GOT = {
    str(file.relative_to(HOME)): told["answer"]
    for file in sorted(HOME.glob("gemini.generate/*/*.yaml"))
    if (told := yaml.safe_load(file.read_text()))["answer"].get("status", 200) == 200
}
FIELDS = {
    "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "serviceTier",
    "cachedContent",
}


@pytest.mark.parametrize("case", SENT)
def test_a_request_has_no_field_that_google_does_not_know(case):
    """Their structs forbid unknown fields, and check every type."""
    body = SENT[case]
    assert set(body) <= FIELDS
    for content in body["contents"]:
        assert types.Content.model_validate(content).parts
    if "systemInstruction" in body:
        types.Content.model_validate(body["systemInstruction"])
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))


@pytest.mark.parametrize("case", GOT)
def test_an_answer_is_one_of_google(case):
    answer = GOT[case]
    chunks = [answer["body"]] if "body" in answer else [
        json.loads(line[5:]) for line in answer["stream"].splitlines() if line.startswith("data:")
    ]
    for chunk in chunks:
        if "error" not in chunk:
            types.GenerateContentResponse.model_validate(chunk)
