"""Defaults and syntax of the options fetch.allowed_*; ingest/access.py applies them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

# Without schemes that connect to any host and port in a manifest (webhdfs, ftp, sftp), and without har, which wraps
# other schemes.
FETCH_SCHEMES = ("file", "http", "https", "s3a", "s3", "hdfs", "viewfs", "abfs", "abfss", "wasb", "wasbs", "gs")
PUBLIC = "public"  # entry of fetch.allowed_hosts: every host with only public addresses

_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?")
_NUMBER = re.compile(r"[0-9.]+|0x[0-9a-f.x]*", re.IGNORECASE)  # an address, or another spelling of one


def fetch_faults(schemes: Sequence[str], hosts: Sequence[str], roots: Sequence[str]) -> list[str]:
    """The faults of the options, so that a mistyped rule never permits or refuses anything silently."""
    faults = [
        f"fetch.allowed_schemes: {scheme!r}; give names of schemes in lower case, such as https"
        for scheme in schemes
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme)
    ]
    faults += [
        f"fetch.allowed_hosts: {host!r}; give names (images.example.org, *.example.org), addresses, CIDR blocks "
        f"(10.1.0.0/16), or {PUBLIC}; without scheme and port"
        for host in hosts
        if as_network(host) is None and (not _NAME.fullmatch(host) or _NUMBER.fullmatch(host))
    ]
    faults += [
        f"fetch.allowed_roots: {root!r}; give absolute paths of folders, or URIs such as s3a://bucket/photos/"
        for root in roots
        if not (root.startswith("/") or re.match(r"(?!file:)[a-z][a-z0-9+.-]*://[^/]", root))
    ]
    return faults


def as_network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address or CIDR block as a network; None for a name."""
    try:
        return ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None
