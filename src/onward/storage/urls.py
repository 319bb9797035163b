"""URLs of journals as they may be shown: without passwords and tokens."""

from __future__ import annotations

import re
from typing import Final

_SECRETS: Final = re.compile(
    r"(?<=//)([^/?#]*@)|(?<=[?&])(password|passwd|token|secret|sslpassword)=[^&#]*", re.IGNORECASE
)
# Without the slashes: no URL of ours, but somebody's password.
_BARE: Final = re.compile(r"(?<=^postgres:)(?!//).*@|(?<=^postgresql:)(?!//).*@")
# A password that should have been percent-encoded: what looks like a path or a query then still belongs to it.
_UNQUOTED: Final = re.compile(r"(?<=//)([^@?]*[/#][^@]*@)(?=[^@]*$)")


def masked(url: str) -> str:
    """`url` as it may appear in messages and logs: without user, password and tokens."""
    url = _BARE.sub("***@", url)
    url = _UNQUOTED.sub(lambda found: _user(found[1]), url)
    return _SECRETS.sub(lambda found: f"{found[2]}=***" if found[2] else _user(found[1]), url)


def has_bare_password(url: str) -> bool:
    """Whether its password holds characters that end it: nobody can tell what is meant."""
    return _UNQUOTED.search(url) is not None


def _user(part: str) -> str:
    name, colon, _ = part.removesuffix("@").partition(":")
    return f"{name}:***@" if colon else f"{name}@"
