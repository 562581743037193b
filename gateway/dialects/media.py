"""Data URLs and media types, as several formats need them for images and files."""

import re
from binascii import a2b_base64

from gateway.conversation import Media, Source
from gateway.errors import InvalidRequest

_DATA = re.compile(r"data:([^;,\s]{0,127})((?:;[^;,\s]{1,127}){0,4}),")
# How the base64 of common image files begins: clients often name the wrong type, which some services refuse.
_BEGINNINGS = (("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
_TELLING = frozenset(kind for _, kind in _BEGINNINGS)  # files of these types are known by how they begin
_OF_THE_WEB = str.maketrans("-_", "+/", "\r\n\t ")


def source_of(url: str, param: str, *, image: bool = False) -> Source:
    """A link or a data URL. Raises `InvalidRequest` for what is neither, or for a data URL that is not base64."""
    if url[:5] != "data:":
        return link_of(url, param)
    found = _DATA.match(url)
    if found is None or not found.group(2).endswith(";base64"):
        raise InvalidRequest("A data URL must have the form `data:<type>;base64,<data>`.", param=param)
    data = url[found.end() :]
    return picture_of(data, found.group(1), param) if image else inline_of(data, found.group(1), param)


def link_of(url: str, param: str) -> Source:
    """A link, which must have a scheme: what it leads to is nobody's business here."""
    if not url.startswith(("https://", "http://", "gs://", "s3://")):
        raise InvalidRequest("A link must begin with https:// or be a data URL.", param=param)
    return Source("url", url)


def inline_of(data: str, kind: str, param: str, name: str = "") -> Source:
    """Bytes that came as base64. Raises `InvalidRequest` for what is none; that of the web becomes the usual one."""
    try:
        a2b_base64(data, strict_mode=True)
    except ValueError:  # also what is not ASCII
        data = data.translate(_OF_THE_WEB)
        data += "=" * (-len(data) % 4)
        try:
            a2b_base64(data, strict_mode=True)
        except ValueError:
            raise InvalidRequest("The data is not valid base64.", param=param) from None
    if not data:
        raise InvalidRequest("The data is empty.", param=param)
    return Source("base64", data, kind, name)


def picture_of(data: str, said: str, param: str) -> Source:
    """The same for an image: of the type that its first bytes tell, whatever was said. Raises also for no image."""
    data = inline_of(data, said, param).data
    kind = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), "")
    if not kind and said in _TELLING:
        raise InvalidRequest(f"The data is no image of the type `{said}`.", param=param)
    kind = kind or said
    if not kind.startswith("image/"):
        raise InvalidRequest(f"An image was sent with the type `{kind[:64]}`.", param=param)
    return Source("base64", data, kind)


def media_of(kind: str) -> Media:
    """The sort of media of a MIME type."""
    sort = kind.partition("/")[0]
    return sort if sort in ("image", "audio", "video") else "document"  # type: ignore[return-value]


def data_url(source: Source, default: str = "application/octet-stream") -> str:
    """The base64 source as a data URL."""
    return f"data:{source.media_type or default};base64,{source.data}"
