"""Real exchanges with real services, kept beside the project; tests that need them skip when they are not there."""

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
needs_recordings = pytest.mark.skipif(
    not (SHARED / "recordings" / "index.json").exists(), reason="../shared/recordings is not beside the project"
)
ENDPOINTS = {"chat.completions": "chat/completions", "completions": "completions", "embeddings": "embeddings"}


def openai_recordings():
    """(id, endpoint, recording) of every recorded exchange in OpenAI's format."""
    found = []
    for file in sorted([*SHARED.glob("recordings/**/*.json"), *SHARED.glob("recordings-vllm/*.json")]):
        if file.name == "index.json":
            continue
        recording = json.loads(file.read_text())
        endpoint = endpoint_of(recording["endpoint"])
        if endpoint is not None:
            found.append((recording["id"], endpoint, recording))
    return found


def endpoint_of(name: str) -> str | None:
    """The gateway's name of a recording's endpoint."""
    if name in ENDPOINTS:
        return name
    tail = name.removeprefix("/v1/").replace("/", ".")
    return tail if name.startswith("/v1/") and tail in ENDPOINTS else None


def wire_body(response: dict) -> bytes:
    """The bytes of a recorded response."""
    if response.get("body_text") is not None:
        return response["body_text"].encode()
    return json.dumps(response.get("body"), ensure_ascii=False).encode()


def is_stream(recording: dict) -> bool:
    """Whether the answer was a stream of events."""
    return "event-stream" in recording["response"].get("headers", {}).get("content-type", "") or bool(
        recording["stream"] and recording["response"].get("body_text", "")
    )


def recordings_of(*endpoints: str, provider: str | None = None):
    """(id, recording) of every recorded exchange with one of these endpoints."""
    found = []
    for file in sorted(SHARED.glob("recordings/**/*.json")):
        if file.name == "index.json":
            continue
        recording = json.loads(file.read_text())
        if recording["endpoint"] in endpoints and provider in (None, recording["provider"]):
            found.append((recording["id"], recording))
    return found
