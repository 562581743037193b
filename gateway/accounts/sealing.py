"""Secrets that must come back out: sealed with AES-256-GCM, for one purpose and one place only.

The key is derived from the master secret for the purpose; what the secret belongs to is authenticated with it, so that
a sealed text moved to another row, tenant or purpose does not open. What need not come back (keys, passwords) is hashed
instead.
"""

import base64
import binascii
import hashlib
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import Unavailable
from gateway.secrets import derive

_VERSION: Final = "v1"
_NONCE: Final = 12


class SealBroken(Unavailable):
    """A sealed text does not open: the master secret is another one, or the text was changed or moved."""

    code = "seal_broken"


class Sealer:
    """Seals and opens for one `purpose`, such as `provider-credential`."""

    def __init__(self, master: bytes, purpose: str) -> None:
        key = derive(master, f"seal/{purpose}")
        self._purpose = purpose
        self._aead = AESGCM(key)
        self._key_id = hashlib.sha256(b"key-id" + key).hexdigest()[:8]
        self._print = derive(master, f"fingerprint/{purpose}")

    def seal(self, text: str, *place: str) -> str:
        """The sealed text. It opens only with the same `place`: names of table, row and tenant."""
        return self.seal_bytes(text.encode("utf-8", "surrogatepass"), *place)

    def seal_bytes(self, data: bytes, *place: str) -> str:
        """As `seal`, for what is no text."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._aead.encrypt(nonce, data, self._context(place))
        return f"{_VERSION}.{self._key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *place: str) -> str:
        """What was sealed. Raises `SealBroken`."""
        return self.open_bytes(sealed, *place).decode("utf-8", "surrogatepass")

    def open_bytes(self, sealed: str, *place: str) -> bytes:
        """As `open`, for what is no text."""
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        if version != _VERSION or key_id != self._key_id:
            raise SealBroken("A stored secret was sealed with another master secret. Restore the one it was made with.")
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(data).decode() != text:  # unused bits of the last character
                raise ValueError("not as it was written")  # noqa: TRY301 - as every other change
            return self._aead.decrypt(data[:_NONCE], data[_NONCE:], self._context(place))
        except (InvalidTag, ValueError, binascii.Error):
            raise SealBroken("A stored secret was changed in the database, or belongs elsewhere.") from None

    def fingerprint(self, text: str) -> str:
        """A short name of a secret: equal for equal ones, and of no use to guess it without the master secret."""
        made = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._print, digest_size=8)
        return made.hexdigest()

    def _context(self, place: tuple[str, ...]) -> bytes:
        # Lengths, not only a separator: no two places give the same bytes.
        parts = [_VERSION, self._purpose, self._key_id, *place]
        return b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
