"""What an answer of Gemini's rests on (`groundingMetadata`, `citationMetadata`), and citations with neutral names.

Gemini counts bytes of UTF-8; the neutral form (`url`, `title`, `start_index`, `end_index`, `cited_text`) counts
characters of the part that it stands in.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.conversation import Part, TextPart

Json = dict[str, Any]


def citations_of(candidate: Json, texts: Sequence[str]) -> list[list[Json]]:
    """For each text the citations in it."""
    found: list[list[Json]] = [[] for _ in texts]
    if not found:
        return found
    for citation in (*_grounded(candidate), *_cited(candidate)):
        number, placed = _placed(citation, texts)
        found[number].append(placed)
    return found


def grounding_of(parts: Iterable[Part]) -> Json:
    """Citations of another dialect as `groundingMetadata`; empty where none has a link."""
    chunks: dict[tuple[str, str], int] = {}
    supports: list[Json] = []
    for number, part in enumerate(parts):
        if not isinstance(part, TextPart):
            continue
        for citation in part.citations:
            given = citation.get("url_citation")
            given = given if type(given) is dict else citation
            url, title = given.get("url"), given.get("title")
            if type(url) is not str or not url:
                continue
            at = chunks.setdefault((url, title if type(title) is str else ""), len(chunks))
            supports.append({"segment": _segment(given, part.text, number), "groundingChunkIndices": [at]})
    if not supports:
        return {}
    web = [{"web": {"uri": url, **({"title": title} if title else {})}} for url, title in chunks]
    return {"groundingChunks": web, "groundingSupports": supports}


def _grounded(candidate: Json) -> Iterable[Json]:
    meta = _object(candidate.get("groundingMetadata"))
    chunks = _list(meta.get("groundingChunks"))
    for support in map(_object, _list(meta.get("groundingSupports"))):
        segment = _object(support.get("segment"))
        for index in _list(support.get("groundingChunkIndices")):
            chunk = _object(chunks[index]) if type(index) is int and 0 <= index < len(chunks) else {}
            source = _object(next(iter(chunk.values()), None))
            yield {
                "url": source.get("uri") or source.get("fileSearchStore") or "", "title": source.get("title") or "",
                "start": segment.get("startIndex") or 0, "end": segment.get("endIndex"), "text": segment.get("text"),
            }


def _cited(candidate: Json) -> Iterable[Json]:
    meta = _object(candidate.get("citationMetadata"))
    for source in map(_object, _list(meta.get("citationSources") or meta.get("citations"))):
        yield {
            "url": source.get("uri") or "", "title": source.get("title") or "",
            "start": source.get("startIndex") or 0, "end": source.get("endIndex"), "text": None,
        }


def _placed(citation: Json, texts: Sequence[str]) -> tuple[int, Json]:
    """The text that it stands in, and itself in neutral names. Where Gemini's offsets do not fit, its words decide."""
    words, start, end = citation["text"], citation["start"], citation["end"]
    made = {"type": "url_citation", "url": citation["url"], "title": citation["title"]}
    for number, text in enumerate(texts):
        raw = text.encode()
        if type(start) is int and type(end) is int and 0 <= start < end <= len(raw):
            said = raw[start:end].decode("utf-8", "ignore")
            if words is None or said == words:
                at = len(raw[:start].decode("utf-8", "ignore"))
                return number, {**made, "start_index": at, "end_index": at + len(said), "cited_text": said}
        if type(words) is str and words and (at := text.find(words)) >= 0:
            return number, {**made, "start_index": at, "end_index": at + len(words), "cited_text": words}
    return len(texts) - 1, made


def _segment(given: Json, text: str, part: int) -> Json:
    start, end = given.get("start_index"), given.get("end_index")
    cited = given.get("cited_text")
    made: Json = {"partIndex": part} if part else {}
    if type(start) is int and type(end) is int and 0 <= start < end <= len(text):
        begin = len(text[:start].encode())
        made.update(startIndex=begin, endIndex=begin + len(text[start:end].encode()), text=text[start:end])
    elif type(cited) is str:
        made["text"] = cited
    return made


def _object(value: object) -> Json:
    return value if type(value) is dict else {}


def _list(value: object) -> list[Any]:
    return value if type(value) is list else []
