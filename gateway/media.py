"""The request path of sound and images: forms that are streamed to the target, and answers that are no JSON.

It is the one of `pipeline.py`; only how a request is read, and when it can no longer be tried elsewhere, differ.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.dialects.openai_media import MediaDialect
from gateway.errors import UpstreamError
from gateway.exchange import Exchange, Target
from gateway.guardrails.stage import GuardrailStage
from gateway.pipeline import Pipeline
from gateway.relay import StreamRelay
from gateway.runtime import Snapshot
from gateway.upload import Upload

if TYPE_CHECKING:
    from gateway.hookspecs import Reply
    from gateway.httprequest import Answer, Incoming


class MediaPipeline(Pipeline):
    """For endpoints whose dialect is a `MediaDialect`."""

    async def _receive(self, exchange: Exchange, incoming: "Incoming", params: Mapping[str, str]) -> None:
        dialect = exchange.dialect
        assert isinstance(dialect, MediaDialect)
        if dialect.form:
            await self._receive_form(exchange, incoming, dialect)
        else:
            await super()._receive(exchange, incoming, params)
        request = exchange.request
        assert request is not None
        exchange.dialect = dialect.variant(request)
        size = _length(incoming) or len(request.raw)
        exchange.internal["expected"], exchange.internal["most"] = dialect.forecast(request, size)

    async def _receive_form(self, exchange: Exchange, incoming: "Incoming", dialect: MediaDialect) -> None:
        """Read a form as far as must be known before it is admitted: up to the model, or all that guardrails judge."""
        self._check_open(exchange)
        server = self._gateway.snapshot.config.server
        pieces = incoming.pieces(server.max_upload_bytes)
        exchange.upload = upload = Upload(incoming.headers.get("content-type", ""), pieces, _length(incoming))
        await upload.read_head()
        if "model" not in upload.fields:
            await upload.read_all(server.max_body_bytes, _late(server.max_body_bytes))
        _decode(exchange, upload, dialect)
        if dialect.judged and await self._judges(exchange):
            await upload.read_all(server.max_body_bytes, _judged(server.max_body_bytes))
            _decode(exchange, upload, dialect)

    async def _judges(self, exchange: Exchange) -> bool:
        for member in self._gateway.snapshot.plugins.members:
            if isinstance(member.plugin, GuardrailStage) and await member.plugin.judges(exchange):
                return True
        return False

    async def _attempt(
        self, snapshot: Snapshot, exchange: Exchange, target: Target, line: StreamRelay
    ) -> "Reply | Answer":
        upload = exchange.upload
        try:
            return await super()._attempt(snapshot, exchange, target, line)
        except UpstreamError as error:
            if upload is not None and upload.sent:
                error.retryable = False  # the form has gone by
            raise


def _decode(exchange: Exchange, upload: Upload, dialect: MediaDialect) -> None:
    """The texts that are known as a request; of a repeated field the first, of a list all of them."""
    fields = {name: values if name.endswith("[]") else values[0] for name, values in upload.fields.items()}
    exchange.request = dialect.decode(msgspec.json.encode(fields), fields)


def _length(incoming: "Incoming") -> int | None:
    length = incoming.headers.get("content-length")
    return int(length) if length is not None else None


def _late(limit: int) -> str:
    return f"In a form of more than {limit} bytes the field `model` must stand before the file: put it first."


def _judged(limit: int) -> str:
    return f"Requests are judged by guardrails here, so that a form can have at most {limit} bytes."
