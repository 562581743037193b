"""AWS event-stream frames as text that reads like server-sent events, for files that people write; and back.

`event: contentBlockDelta` names the event; `event: !throttlingException` is an exception's frame.
"""

import json

from gateway import eventstream


def framed(text):
    """The frames of such a text."""
    frames = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        if not lines:
            continue
        event = lines[0].removeprefix("event:").strip()
        payload = lines[1].removeprefix("data:").strip().encode()
        make = eventstream.exception if event.startswith("!") else eventstream.event
        frames.append(make(event.removeprefix("!"), payload))
    return b"".join(frames)


def unframed(data):
    """The text of such frames; each is checked on the way."""
    lines = []
    for record in eventstream.split(data):
        frame = eventstream.read(record)
        exception = frame.headers.get(":exception-type")
        event = f"!{exception}" if exception else frame.headers[":event-type"]
        lines.append(f"event: {event}\ndata: {json.dumps(json.loads(frame.payload))}\n\n")
    return "".join(lines)
