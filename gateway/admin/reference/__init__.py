"""The API reference: one page with its style and script inside, which reads the OpenAPI document. No other host."""

import base64
import hashlib
from importlib import resources

import msgspec


class ReferencePage(msgspec.Struct, frozen=True):
    """The page, and the policy that lets only its own style and script run."""

    html: bytes
    policy: str


def reference_page() -> ReferencePage:
    """Put the page together."""
    files = resources.files(__name__)
    html, style, script = (files.joinpath(name).read_text("utf-8") for name in ("page.html", "style.css", "script.js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return ReferencePage(html.replace("/*style*/", style).replace("/*script*/", script).encode(), policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
