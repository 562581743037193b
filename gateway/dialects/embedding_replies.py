"""What codecs of the family `embeddings` share: vectors of decoded JSON, and that nothing of it is streamed."""

from typing import Any, NoReturn

from gateway.codec import Translation
from gateway.errors import InvalidRequest, UpstreamCut
from gateway.jsonbody import UNREADABLE, read_lenient

Json = dict[str, Any]


class Unstreamed:
    """The half of a codec that embeddings do not have."""

    def reader(self, translation: Translation) -> NoReturn:  # noqa: ARG002
        """There are no streams to read."""
        raise UpstreamCut("The upstream answered with a stream where vectors belong.")

    def writer(self, asked: Any, translation: Translation) -> NoReturn:  # noqa: ANN401, ARG002
        """There are no streams to write."""
        raise InvalidRequest("Embeddings are not streamed; leave `stream` out.", param="stream")


def object_of(body: bytes) -> Json:
    """The reply's object. Raises `UpstreamCut` for what is none."""
    tree = read_lenient(body)
    if tree is UNREADABLE or type(tree) is not dict:
        raise UpstreamCut("The upstream answered with something that is no JSON object.")
    return tree


def objects_in(tree: Json, name: str) -> list[Json]:
    """The objects in a field. Raises `UpstreamCut` if it is not a list of some."""
    found = tree.get(name)
    if type(found) is not list or not all(type(item) is dict for item in found):
        raise UpstreamCut(f"The upstream's reply has no list of objects in `{name}`.")
    return found


def vector_in(holder: object, name: str) -> list[float]:
    """The vector in a field. Raises `UpstreamCut` for what is none."""
    values = holder.get(name) if type(holder) is dict else None
    if type(values) is not list or not all(type(value) in (int, float) for value in values):
        raise UpstreamCut("The upstream's reply has something that is no vector.")
    return values
