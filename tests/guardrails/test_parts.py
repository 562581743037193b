"""What tools answer and what documents say is told apart from what people say, in all dialects."""

import pytest

from gateway.dialects.anthropic import Messages
from gateway.dialects.bedrock import Converse
from gateway.dialects.gemini import GeminiDialect
from gateway.dialects.openai_chat import Chat
from gateway.dialects.responses import Responses
from gateway.exchange import Request

CHAT = {"messages": [
    {"role": "user", "content": "asked"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "called"}'}},
    ]},
    {"role": "tool", "tool_call_id": "c", "content": "found"},
    {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "found too"}]},
]}  # fmt: skip
MESSAGES = {"messages": [
    {"role": "user", "content": [
        {"type": "text", "text": "asked"},
        {"type": "tool_result", "tool_use_id": "t", "content": "found"},
        {"type": "tool_result", "tool_use_id": "u", "content": [{"type": "text", "text": "found too"}]},
        {"type": "document", "title": "page", "source": {"type": "text", "media_type": "text/plain", "data": "page"}},
        {"type": "search_result", "source": "https://example.org", "title": "page", "content": [{"type": "text", "text": "page"}]},
    ]},
]}  # fmt: skip
CONVERSE = {"messages": [
    {"role": "user", "content": [
        {"text": "asked"}, {"toolResult": {"toolUseId": "t", "content": [{"text": "found"}, {"json": {"a": "found too"}}]}},
        {"document": {"name": "page", "format": "txt", "source": {"text": "page"}}},
    ]},
]}  # fmt: skip
GEMINI = {"contents": [
    {"role": "user", "parts": [{"text": "asked"}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": "found", "b": ["found too"]}}}]},
]}  # fmt: skip
RESPONSES = {"input": [
    {"role": "user", "content": "asked"}, {"type": "function_call_output", "call_id": "c", "output": "found"},
    {"type": "function_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "found too"}]},
]}  # fmt: skip


@pytest.mark.parametrize(("dialect", "body"), [
    (Chat(), CHAT), (Messages(), MESSAGES), (Converse(), CONVERSE), (GeminiDialect(), GEMINI), (Responses(), RESPONSES),
], ids=["chat", "messages", "converse", "gemini", "responses"])  # fmt: skip
def test_results_and_documents_have_parts_of_their_own(dialect, body):
    seen: dict[str, str] = {}

    def note(text: str, part: str) -> str:
        seen[text] = part
        return text

    dialect.map_texts(Request(model="m", stream=False, raw=b"", body=body), note)
    assert seen["asked"] == "content"
    assert seen["found"] == seen["found too"] == "tool_result"
    assert seen.get("page", "document") == "document"
