"""The one strict JSON reader for request bodies, a lenient one for replies, and edits of a body's bytes.

Strict means (readers of the same JSON differ where RFC 8259 lets them): UTF-8, no NaN, no lone surrogates, integers of
at most 64 bits, at most 64 levels, no duplicate keys: no two readers of the same bytes can see different requests.
"""

import json  # noqa: TID251 - replies are read as the clients' readers read them: NaN and lone surrogates pass
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from gateway.exchange import Exchange

MAX_DEPTH = 64
UNREADABLE = object()

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_NOT_BRACKETS = bytes(b for b in range(256) if b not in b"{}[]")


def read_object(raw: bytes) -> dict[str, Any]:
    """Decode `raw` as one strict JSON object. Raises `InvalidRequest` that says what is wrong, and where."""
    try:
        body = _decode(raw)
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.", code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:  # malformed, NaN, numbers out of range
        raise InvalidRequest(_why(raw, str(error)), code="invalid_json") from None
    if type(body) is not dict:
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    outline = _outline(raw)
    _check_depth(outline)
    if _count_keys(body) != outline.count(b":"):
        raise InvalidRequest("The body has a duplicate key in one of its objects.", code="duplicate_key")
    return body


def read_lenient(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """What a client's reader would see in a reply, as JSON that can be written again; `UNREADABLE` if nothing."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        text = raw.decode("utf-8", "replace")
        tree = json.loads(text, strict=False, parse_int=_integer)
        # Once more through text, so that no lone surrogate is left, which could not be written.
        return json.loads(json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace"), parse_int=_integer)
    except (ValueError, RecursionError):
        return UNREADABLE


def outgoing(
    exchange: "Exchange", model: str, *, remove: Collection[str] = (), add: Mapping[str, Any] | None = None
) -> bytes:
    """The bytes to send to a target that calls the model `model`.

    In the caller's dialect they are as received, but for what the dialect must change (the model's name, asking for
    usage, a limiter's cap) and the exchange's `edits`; in another they are what the bridge wrote. `remove` and `add`
    are top-level fields that this provider's variant of the dialect lacks or needs.
    """
    request = exchange.request
    assert request is not None
    if exchange.bridge is not None:
        body: Mapping[str, Any] = exchange.bridge.body
        changes: dict[str, Any] = {}
    else:
        body = request.body
        changes = exchange.dialect.changes(request, model, exchange.cap)
    for edit in exchange.edits:
        changes[edit.name] = edit.value
    if add:
        changes.update(add)
    if exchange.bridge is not None or not body.keys().isdisjoint(remove):
        return _encode({name: value for name, value in {**body, **changes}.items() if name not in remove})
    if remove:
        changes = {name: value for name, value in changes.items() if name not in remove}
    return edited(request.raw, request.body, changes) if changes else request.raw


def edited(raw: bytes, body: dict[str, Any], changes: dict[str, Any]) -> bytes:
    """`raw`, an object whose decoded form is `body`, with top-level fields set; all other bytes stay."""
    empty = not body
    for name, value in changes.items():
        new = _encode(value)
        if name not in body:
            raw = _appended(raw, name, new, empty=empty)
            empty = False
            continue
        span = _only_span(raw, name) or _value_span(raw, name, body[name])
        if span is None:  # an escaped key, or a number written unusually: write the decoded form instead
            return _encode({**body, **changes})
        raw = raw[: span[0]] + new + raw[span[1] :]
    return raw


def _appended(raw: bytes, name: str, value: bytes, *, empty: bool) -> bytes:
    end = raw.rindex(b"}")
    comma = b"" if empty else b","
    return raw[:end].rstrip() + comma + _encode(name) + b":" + value + raw[end:]


def _only_span(raw: bytes, name: str) -> tuple[int, int] | None:
    """As `_value_span` for a field that is there, cheaply: if its key's spelling occurs once, that is it.

    Unless a key may be spelled with `\\u`, and the one occurrence be something else.
    """
    key = b'"%b"' % name.encode()
    at = raw.rfind(key)
    if at < 0 or raw.find(key) != at or (b"\\" in raw and b"\\u" in raw):  # one byte is found far sooner than two
        return None
    start = at + len(key) + 1
    if raw[start - 1] != ord(":"):
        return None
    while raw[start] in b" \t\r\n":
        start += 1
    end = _value_end(raw, start)
    return None if end is None else (start, end)


def _value_span(raw: bytes, name: str, value: Any) -> tuple[int, int] | None:  # noqa: ANN401
    """Where the top-level field's value stands. `name` is a plain identifier; `value` its decoded form."""
    for match in re.finditer(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*', raw):
        if _depth_at(raw, match.start()) == 1:
            end = _value_end(raw, match.end())
            if end is not None and _decode(raw[match.end() : end]) == value:
                return match.end(), end
    return None


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,}\]]+")


def _value_end(raw: bytes, start: int) -> int | None:
    if raw[start] == ord('"'):
        end = raw.find(b'"', start + 1)
        if raw.find(b"\\", start, end) < 0:
            return end + 1
        match = _STRING.match(raw, start)
        return match.end() if match else None
    if raw[start : start + 1] not in (b"{", b"["):
        match = _SCALAR.match(raw, start)
        return match.end() if match else None
    depth, position = 0, start
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', raw[start:]):
        token = match.group()
        depth += token in (b"{", b"[")
        depth -= token in (b"}", b"]")
        position = start + match.end()
        if depth == 0:
            return position
    return None


def _outline(raw: bytes) -> bytes:
    """`raw` (valid JSON) without its strings. Works with `bytes` methods only: their cost is that of a copy."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(raw.split(b'"')[::2])


def _depth_at(raw: bytes, position: int) -> int:
    outline = _outline(raw[:position])
    return outline.count(b"{") + outline.count(b"[") - outline.count(b"}") - outline.count(b"]")


def _check_depth(outline: bytes) -> None:
    if outline.count(b"{") + outline.count(b"[") <= MAX_DEPTH:
        return
    brackets = outline.translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):  # each turn takes the innermost pairs away
        if not brackets:
            return
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    if brackets:
        raise _too_deep()


def _count_keys(value: Any) -> int:  # noqa: ANN401
    """The keys of all objects in `value`, and a check of its integers on the way."""
    count = 0
    items = value
    if type(value) is dict:
        count = len(value)
        items = value.values()
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            if item:
                count += _count_keys(item)
        elif kind is int and not -(1 << 63) <= item < 1 << 64:
            raise InvalidRequest("The body has an integer of more than 64 bits.", code="invalid_json")
    return count


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


def _why(raw: bytes, error: str) -> str:
    """What is wrong with a body that could not be decoded, where the decoder's own words would mislead."""
    if not raw.strip():
        return "The body is empty. Send a JSON object."
    if raw.startswith(b"\xef\xbb\xbf"):
        return "The body begins with a byte order mark. Send UTF-8 without one."
    if "surrogate" in error or ("truncated" in error and raw.rstrip().endswith(b"}") and b"\\ud" in raw.lower()):
        return "The body is not valid JSON: a text has half of a surrogate pair, \\ud800 to \\udfff alone."
    return f"The body is not valid JSON: {error}."


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
