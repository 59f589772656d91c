"""Secrets in text: the user part of URIs, signatures in their queries, and values of settings that hold a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HIDDEN = "*********(redacted)"
"""What stands for a secret; Spark writes the same."""
SPARK_KEY = "spark.redaction.regex"
_SPARK_DEFAULT = r"(?i)secret|password|token|access[.]?key"
# Names of Hadoop settings that Spark's default overlooks.
_OURS = re.compile(r"(?i)account[.]?key|private[.]?key|passwd|passphrase|secret|password|token|access[.]?key")
_LEAST_VALUE = 8  # characters; a shorter value is looked for beside its name alone, for it may be a word of the text

# Spark's regexp_replace (Java) and Python read these alike; group 1 stays, group 2 is the secret, group 3 stays.
URI_SECRETS = (
    # The secret of an S3 key may hold slashes.
    r"(?i)\b(s3[an]?://)([^\s:/@]+:[^\s@\"']+)(@)",
    # The part before the @ of Azure's own schemes is the container.
    r"(?i)\b((?!abfss?:|wasbs?:)[a-z][a-z0-9+.\-]*://)([^/?#\s@\"'<>]+)(@)",
    r"(?i)([?&;](?:[a-z0-9_.\-]*(?:sig|signature|secret|password|passwd|pwd|token|credential|api[_-]?key|access[_-]?key"
    r"|accesskeyid|accessid)|key|auth)=)([^&;#\s\"'<>]+)()",
)
_IN_URIS = [re.compile(pattern) for pattern in URI_SECRETS]
_ARGUMENT = re.compile(r"(?s)((?:--[\w-]+=)?)([A-Za-z_][\w.\-]*)=(.*)")
# A name that a slash precedes is a folder such as token=7; one in a query was looked at above.
_PAIR = re.compile(r"(?<![?&;\w.\-/])([A-Za-z_][\w.\-]*)=([^\s,;&\"']+)")


def redact_uris(text: str) -> str:
    """`text` without the user parts and the signatures of URIs in it."""
    for pattern in _IN_URIS:
        text = pattern.sub(rf"\g<1>{HIDDEN}\g<3>", text)
    return text


@dataclass(frozen=True)
class Redactor:
    """Takes secrets out of what is stored, logged or printed.

    Attributes:
        names: pattern of the names of settings whose values are secrets (the user's `spark.redaction.regex`).
        values: secrets that are known, hidden wherever they stand.
    """

    names: re.Pattern[str] = re.compile(_SPARK_DEFAULT)
    values: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Redactor:
        """With Spark's pattern, or the one that `settings` names, and the secrets among `settings`."""
        try:
            names = re.compile(settings.get(SPARK_KEY, _SPARK_DEFAULT))
        except re.error:  # Java knows more than Python: then every setting counts as a secret
            names = re.compile("")
        known = cls(names)
        secrets = (value for key, value in settings.items() if known.is_secret(key))
        return cls(names, frozenset(value for value in secrets if len(value) >= _LEAST_VALUE))

    def is_secret(self, name: str, value: str = "") -> bool:
        """Whether the setting is a secret; by its value too where it is Spark's, as Spark does it."""
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
        """Strings, and strings in lists and dicts, without secrets; anything else as it is."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self.deep(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.deep(one) for one in value]
        return value
