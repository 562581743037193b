"""Provider for OpenAI itself.

    providers:
      - name: openai
        use: provider.openai
        when: ${OPENAI_API_KEY:-}
        with: {api_key: "${OPENAI_API_KEY:-}"}
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from gateway import Secret
from gateway.config import PriceEntry
from gateway_plugins.providers import openai_compatible

# What is not billed by tokens: list prices of platform.openai.com/docs/pricing.
PRICES = {
    "whisper-1": PriceEntry(model="whisper-1", input="0", output="0", per_minute="0.006"),
    "tts-1": PriceEntry(model="tts-1", input="0", output="0", per_million_characters="15"),
    "tts-1-hd": PriceEntry(model="tts-1-hd", input="0", output="0", per_million_characters="30"),
}
PATHS = {
    **openai_compatible.PATHS, "moderations": "/moderations", "responses.compact": "/responses/compact",
    "responses.input_tokens": "/responses/input_tokens",
}


class Options(openai_compatible.Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key, and whose account pays."""

    base_url: str = "https://api.openai.com/v1"
    api_key: Annotated[Secret | None, Meta(description="An OpenAI API key.")] = None
    organization: Annotated[str | None, Meta(description="Sent as OpenAI-Organization.")] = None
    project: Annotated[str | None, Meta(description="Sent as OpenAI-Project.")] = None
    price_book: str | None = "openai"
    responses: bool = True
    responses_only: tuple[str, ...] = (
        "o?-pro", "o?-pro-20*", "gpt-*-pro", "gpt-*-pro-20*", "gpt-*codex*", "codex-*", "o?-*deep-research*",
        "computer-use-preview*",
    )
    takes: tuple[str, ...] = ("developer",)


class OpenAI(openai_compatible.OpenAICompatible):
    """OpenAI's own address, with organisation and project headers."""

    Config = Options
    name = "openai"
    endpoints = frozenset(PATHS) - {"responses"}
    paths = PATHS
    kinds = ("conversations", "files", "uploads", "batches", "fine_tuning", "vector_stores")
    prices: Mapping[str, PriceEntry] = PRICES

    def __init__(self, config: Options) -> None:
        if not (config.api_key or config.stored_key):
            raise ValueError("api_key is empty; set `when: ${OPENAI_API_KEY:-}` to switch the provider off without one")
        super().__init__(config)

    def fixed_headers(self, config: openai_compatible.Address) -> dict[str, str]:
        """As for any upstream, with the account."""
        assert isinstance(config, Options)
        account = {"openai-organization": config.organization, "openai-project": config.project}
        return {**super().fixed_headers(config), **{name: value for name, value in account.items() if value}}
