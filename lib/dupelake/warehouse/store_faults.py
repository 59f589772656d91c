"""What an object store answers when it refuses, or does not answer: one line with the fix.

delta-rs says it as a tree of causes over many lines, with the answer's XML below it; Hadoop as a chain of exceptions.
"""

from __future__ import annotations

import re

from dupelake.errors import first_line

_STORE = re.compile(r"Generic \w+ error|Object Store error|Error performing [A-Za-z]+ |fs\.s3a|s3a://|amazon\.awssdk")
_CODE = re.compile(r"<Code>([^<]+)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN as well for keys that expire)"
_KNOWN = (
    (r"NoSuchBucket|UnknownStoreException", "make the bucket, or give another one"),
    (
        r"/latest/api/token|NoAuthWithAWSException|NoAwsCredentials|Unable to load credentials",
        f"no key of the store was found; set {_KEYS}",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|TokenRefreshRequired",
        f"the store does not know the key, or its secret or token is wrong; check {_KEYS}",
    ),
    (
        r"403 Forbidden|Status Code: 403|Status Code: 400",  # an answer without a body does not say which
        f"the store refuses the key, or what it asks for; check {_KEYS}, and what the owner of the bucket allows it",
    ),
    (r"URL scheme is not allowed", "AWS_ENDPOINT_URL has no TLS; set AWS_ALLOW_HTTP=true if that is meant"),
    (
        r"Connection refused|UnknownHost|dns error|error sending request|timed out|Timeout|[Rr]eset by peer"
        r"|Unable to execute HTTP request|NoHttpResponse",
        "the store does not answer; check its address (AWS_ENDPOINT_URL), and run it again when the store is there",
    ),
)
_FRAME = re.compile(r"^\s+at .*$", re.MULTILINE)  # of a stack of Java, with names such as ApiCallTimeoutTrackingStage
_CLASS, _REQUEST = re.compile(r"^[a-z][\w.$]*\.[A-Z]\w+: "), re.compile(r" \(Service: .*$")


def told(error: BaseException, *, innermost: bool = False) -> str:
    """One line about an error of delta-rs, Spark or Java: what was said, and the fix if a store said it.

    Args:
        error: of the reader or of Spark.
        innermost: as `first_line`; what a store said is taken from the innermost cause anyway.
    """
    text = str(error)
    fix = fix_of(text)
    line = first_line(error, innermost=innermost or fix is not None)
    if fix is None:
        return line
    if answer := _CODE.search(text):
        line = ": ".join(filter(None, (answer[1], answer[2])))
    line = line.removeprefix("Kernel error -> ")  # of delta-rs, whatever it is
    return f"{_REQUEST.sub('', _CLASS.sub('', line)).rstrip('. ')}; {fix}"


def fix_of(text: str) -> str | None:
    """What to do about an object store that refused or did not answer; None where the text is not of one."""
    text = _FRAME.sub("", text)
    if not _STORE.search(text):
        return None
    return next((fix for pattern, fix in _KNOWN if re.search(pattern, text)), None)


def is_of_store(error: BaseException) -> bool:
    """Whether an object store could not be read, so that the question itself is not at fault."""
    return fix_of(str(error)) is not None
