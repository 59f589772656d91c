"""Removes secrets from text: the user part of URIs, signatures in their queries, and values of secret settings.

The secrets of object stores in the environment are hidden as well: stores repeat a token in the answer that refuses it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

HIDDEN = "*********(redacted)"
"""Replaces a secret; Spark writes the same text."""
SPARK_KEY = "spark.redaction.regex"
_SPARK_DEFAULT = r"(?i)secret|password|token|access[.]?key"
# Names of Hadoop settings that Spark's default does not match.
_OURS = re.compile(r"(?i)account[.]?key|private[.]?key|passwd|passphrase|secret|password|token|access[.]?key")
_STORES = ("AWS_", "AZURE_", "GOOGLE_")  # settings of object stores in the environment begin so
_OF_STORES = re.compile("(SECRET|TOKEN|PASSWORD|_KEY)$")  # not AWS_ACCESS_KEY_ID, a name
_LEAST_VALUE = 8  # characters; a shorter value is hidden only after its name, because it may be an ordinary word

# Valid in Spark's regexp_replace (Java) and in Python; groups 1 and 3 are kept, group 2 is the secret.
URI_SECRETS = (
    # The secret of an S3 key may contain slashes.
    r"(?i)\b(s3[an]?://)([^\s:/@]+:[^\s@\"']+)(@)",
    # In Azure's schemes the part before the @ is the container.
    r"(?i)\b((?!abfss?:|wasbs?:)[a-z][a-z0-9+.\-]*://)([^/?#\s@\"'<>]+)(@)",
    r"(?i)([?&;](?:[a-z0-9_.\-]*(?:sig|signature|secret|password|passwd|pwd|token|credential|api[_-]?key|access[_-]?key"
    r"|accesskeyid|accessid)|key|auth)=)([^&;#\s\"'<>]+)()",
)
_IN_URIS = [re.compile(pattern) for pattern in URI_SECRETS]
_ARGUMENT = re.compile(r"(?s)((?:--[\w-]+=)?)([A-Za-z_][\w.\-]*)=(.*)")
# A name after a slash is a folder such as token=7; the patterns above cover names in a query.
_PAIR = re.compile(r"(?<![?&;\w.\-/])([A-Za-z_][\w.\-]*)=([^\s,;&\"']+)")


def redact_uris(text: str) -> str:
    """`text` without the user parts and the signatures of its URIs."""
    for pattern in _IN_URIS:
        text = pattern.sub(rf"\g<1>{HIDDEN}\g<3>", text)
    return text


@dataclass(frozen=True)
class Redactor:
    """Removes secrets from everything that is stored, logged or printed.

    Attributes:
        names: pattern of the names of settings whose values are secret (the user's `spark.redaction.regex`).
        values: known secrets, hidden everywhere.
    """

    names: re.Pattern[str] = re.compile(_SPARK_DEFAULT)
    values: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Redactor:
        """A redactor with Spark's pattern, or that of `settings`, and the secrets in `settings` and the environment."""
        try:
            names = re.compile(settings.get(SPARK_KEY, _SPARK_DEFAULT))
        except re.error:  # a Java pattern that Python does not support: then every setting counts as a secret
            names = re.compile("")
        known = cls(names)
        secrets = [value for key, value in settings.items() if known.is_secret(key)]
        secrets += [value for name, value in os.environ.items() if name.startswith(_STORES) and _OF_STORES.search(name)]
        told = {form for value in secrets if len(value) >= _LEAST_VALUE for form in (value, quote(value, safe=""))}
        return cls(names, frozenset(told))

    def is_secret(self, name: str, value: str = "") -> bool:
        """Whether the setting is a secret, by its name, and for Spark's settings also by its value, as in Spark."""
        if name == SPARK_KEY:
            return False
        is_named = bool(self.names.search(name) or _OURS.search(name))
        return is_named or (name.startswith("spark.") and bool(self.names.search(value)))

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        text = _PAIR.sub(lambda m: f"{m[1]}={HIDDEN}" if self.is_secret(m[1], m[2]) else m[0], text)
        return redact_uris(text)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        """The words of a command line without secrets."""
        shown = []
        for word in argv:
            match = _ARGUMENT.fullmatch(word)
            if match and self.is_secret(match[2], match[3]):
                shown.append(f"{match[1]}{match[2]}={HIDDEN}")
            else:
                shown.append(self(word))
        return shown

    def deep(self, value: Any) -> Any:
        """Strings, and strings in lists and dicts, without secrets; other values are unchanged."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self.deep(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.deep(one) for one in value]
        return value
