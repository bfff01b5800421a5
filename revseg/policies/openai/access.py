"""Access to a server: address, key and login, and how they are kept out of everything that is shown."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from revseg.errors import InputError
from revseg.redaction import without_secrets
from revseg.types import Reply

DEFAULT_URL = "https://api.openai.com/v1"
NO_KEY = "EMPTY"  # sent to servers that need no key
_LONG = 8  # characters; a shorter key could be a word of a reply


@dataclass(frozen=True)
class Access:
    """`url` contains no secret; `key` and `login` (user name, password) are left out of the repr."""

    url: str
    key: str = field(default=NO_KEY, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)

    @staticmethod
    def of(
        base_url: str | None, api_key: str | None, key_name: str, environ: Mapping[str, str] = os.environ
    ) -> "Access":
        """From a policy's options and the environment. InputError, without the value, for one that cannot be sent."""
        address = (base_url or environ.get("OPENAI_BASE_URL") or DEFAULT_URL).strip()
        key = (api_key or environ.get(key_name) or NO_KEY).strip()
        if not isinstance(key, str) or not (key.isascii() and key.isprintable()):
            raise InputError(f"api_key (or {key_name}) contains characters that no key has: copy it again")
        url = without_secrets(address).rstrip("/")
        rest = address.partition("://")[2] or address
        if re.search(r"[?#]", rest.rpartition("@")[2]):
            raise InputError(f"base_url={url!r} came with ?... or #...: expected an address that ends in /v1")
        user, at, _ = rest.rpartition("@")
        name, _, password = user.partition(":")
        return Access(url, key, (unquote(name), unquote(password)) if at else None)

    def hidden(self, text: str) -> str:
        """The text with *** in place of the key, the password, and the encoded login."""
        found = {self.key} - {NO_KEY}
        if self.login is not None:
            found |= {self.login[1], base64.b64encode(":".join(self.login).encode()).decode()}
        for secret in sorted(found - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def without_key(self, reply: Reply) -> Reply:
        """The reply with *** in place of the key and the password, should the server have echoed them."""
        text = reply.text
        for secret in (self.key, self.login[1] if self.login else ""):
            if len(secret) >= _LONG:
                text = text.replace(secret, "***")
        return reply if text == reply.text else replace(reply, text=text)
