"""What Hadoop says of S3, as it was read off a server, becomes one line with the fix."""

from __future__ import annotations

import pytest

from dupelake.errors import first_line
from dupelake.warehouse.store_faults import is_of_store, told

SDK = "software.amazon.awssdk.services.s3.model"


class Java:
    """An exception of Java, as py4j hands it over."""

    def __init__(self, text: str, cause: Java | None = None) -> None:
        self._text, self._cause = text, cause

    def toString(self) -> str:
        return self._text

    def getCause(self) -> Java | None:
        return self._cause


class Thrown(Exception):
    """Its text has the whole chain, as that of Py4JJavaError."""

    def __init__(self, *texts: str) -> None:
        super().__init__("An error occurred while calling o1.exists.\n: " + "\nCaused by: ".join(texts))
        self.java_exception: Java | None = None
        for text in reversed(texts):
            self.java_exception = Java(text, self.java_exception)


REQUEST = "(Service: S3, Status Code: {}, Request ID: mQbuiYa4) (SDK Attempt Count: 1)"


@pytest.mark.parametrize(
    ("outer", "inner", "status", "line"),
    [
        ("AccessDeniedException: x: {}:InvalidAccessKeyId", "S3Exception: No.", 403, "No; the store does not know"),
        ("AccessDeniedException: s3a://b/x: {}:null", "S3Exception: FORBIDDEN", 403, "FORBIDDEN; the store refuses"),
        ("AWSBadRequestException: {}:null", "S3Exception: BAD REQUEST", 400, "BAD REQUEST; the store refuses"),
        ("UnknownStoreException: {}", "NoSuchBucketException: None.", 404, "None; make the bucket"),
    ],
)
def test_what_hadoop_says(outer: str, inner: str, status: int, line: str) -> None:
    cause = f"{SDK}.{inner} {REQUEST.format(status)}"
    error = Thrown(outer.format(cause), cause)
    said = told(error, innermost=True)
    assert said.startswith(line)
    assert "\n" not in said
    assert "Request ID" not in said


def test_a_lock_that_exists_is_no_fault_of_the_store() -> None:
    """S3 says so to a write on condition; names in the stack say nothing."""
    text = f"{SDK}.S3Exception: At least one of the pre-conditions did not hold {REQUEST.format(412)}"
    frame = "\tat software.amazon.awssdk.core.internal.http.pipeline.ApiCallTimeoutTrackingStage.execute(A.java:5)"
    assert not is_of_store(Thrown(f"RemoteFileChangedException: {text}\n{frame}", f"{text}\n{frame}"))


def test_other_errors_stay() -> None:
    other = Thrown("java.lang.NumberFormatException: timeout of 403 Forbidden")
    assert not is_of_store(other)
    assert told(other) == first_line(other) == "java.lang.NumberFormatException: timeout of 403 Forbidden"
