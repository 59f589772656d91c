"""What a run may read: folders, hosts and schemes (options fetch.allowed_*), and how a local file is opened under them.

A manifest may come from somebody who may read less than the executors do. So a local file must lie in a folder that the
run was given (its manifest's own, or one of fetch.allowed_roots), wherever links and `..` lead, and a host must be
public unless fetch.allowed_hosts names it. What is refused is a failed row, reason `not_allowed`, and its message
gives the option to set.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from dupelake.config import FetchConfig
from dupelake.fetch_rules import PUBLIC, as_network
from dupelake.ingest.failure import Failure
from dupelake.ingest.uris import local_path

NOT_ALLOWED = "not_allowed"

# IANA's special-purpose registries: what no server of the internet has. 168.63.129.16 is Azure's own "wire server".
# Of IPv6, 2000::/3 is in use; 2001::/23 holds Teredo and benchmarks. fetch.allowed_hosts opens any of these.
NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "3fff::/20"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Never readable because a folder above was allowed; only where an allowed root lies in them. Devices and pipes are
# never opened at all.
_SYSTEM = ("/etc", "/proc", "/sys", "/dev", "/boot", "/run/secrets", "/run/credentials", "/var/run/secrets")
_SYSTEM_EXCEPT = ("/dev/shm",)  # noqa: S108 - memory that people keep files in
_SECRETS = re.compile(
    r"/\.(?:ssh|gnupg|aws|azure|kube|docker|config|password-store|mozilla|netrc|pgpass|git-credentials)(?=/|$)"
)
_TABLE = re.compile(r"\.(?:csv|jsonl?|ndjson|parquet|pq)$", re.IGNORECASE)
_SHOWN = 3

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Access:
    """The rules of one run; small, travels to the workers.

    Attributes:
        cfg: the options.
        own_roots: folders that the run's PATHs lie in or are, absolute local paths.
    """

    cfg: FetchConfig
    own_roots: tuple[str, ...] = ()

    def refuse_scheme(self, scheme: str) -> Failure | None:
        """Why URIs of a scheme may not be read, or None. A path without scheme is `file`."""
        if scheme.lower() in self.cfg.allowed_schemes:
            return None
        given = ", ".join(self.cfg.allowed_schemes)
        fix = setting("allowed_schemes", [*self.cfg.allowed_schemes, scheme.lower()])
        return Failure(NOT_ALLOWED, f"{scheme}: is not in fetch.allowed_schemes ({given}); to read it: {fix}")

    def looks_refused(self, uri: str | None) -> bool:
        """Whether a URI will be refused, as far as its words tell: no link is followed, no name resolved."""
        if uri is None:
            return False
        path = local_path(uri)
        if path is None:
            return self.refuse_scheme(uri.partition("://")[0]) is not None
        given = (*self.own_roots, *(root for root in self.cfg.allowed_roots if "://" not in root))
        place = os.path.normpath(path)
        inside = any(_lies_in(place, os.path.normpath(root)) for root in (*given, *_real_roots(given)))
        return not inside or self.refuse_scheme("file") is not None

    def refuse_host(self, host: str, addresses: Sequence[str]) -> Failure | None:
        """Why a host may not be connected to, or None.

        Args:
            host: a name or an address, as the URL has it.
            addresses: everything that the name resolves to; all of it must be allowed.
        """
        allowed = self.cfg.allowed_hosts
        name = host.rstrip(".").lower()
        if any(_matches(name, entry) for entry in allowed):
            return None
        networks = [network for entry in allowed if (network := as_network(entry)) is not None]
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if any(address in network or _embedded(address) in network for network in networks):
                continue
            if PUBLIC in allowed and is_public(address):
                continue
            fix = f"to read from it: {setting('allowed_hosts', [*allowed, name])}"
            where = host if host == text else f"{host} ({text})"
            if PUBLIC not in allowed:
                return Failure(NOT_ALLOWED, f"{where} is not in fetch.allowed_hosts; {fix}")
            return Failure(
                NOT_ALLOWED, f"{where} is a private or special address, which a manifest may not reach; {fix}"
            )
        return None

    def refuse_path(self, real: str) -> Failure | None:
        """Why a local file may not be read, or None.

        Args:
            real: its absolute path without links and `..`.
        """
        roots = _real_roots((*self.own_roots, *self.cfg.allowed_roots))
        inside = [root for root in roots if _lies_in(real, root)]
        if not inside:
            shown = ", ".join(roots[:_SHOWN]) + (", ..." if len(roots) > _SHOWN else "") or "none"
            fix = setting("allowed_roots", [*self.cfg.allowed_roots, os.path.dirname(real)])
            return Failure(NOT_ALLOWED, f"{real} lies outside of the folders that this run may read ({shown}); {fix}")
        for guarded in _guarded(real):
            if not any(_lies_in(root, guarded) for root in inside):
                fix = setting("allowed_roots", [*self.cfg.allowed_roots, guarded])
                return Failure(NOT_ALLOWED, f"{guarded} is read only where an option names it; {fix}")
        return None


def own_roots(paths: Sequence[str]) -> tuple[str, ...]:
    """The folders that the PATHs of a command line open: trees themselves, and the folders that hold manifests.

    A table that is a folder (Delta, what Spark or a name like `day.parquet` says) is one manifest, held by its parent.
    """
    found = []
    for path in paths:
        local = local_path(path)
        if local is None:
            continue
        place = os.path.abspath(local)
        is_table = any(os.path.exists(os.path.join(place, mark)) for mark in ("_delta_log", "_SUCCESS"))
        if not os.path.isdir(place) or is_table or _TABLE.search(place):
            place = os.path.dirname(place)
        found.append(place)
    return tuple(dict.fromkeys(found))


def setting(option: str, values: Sequence[str]) -> str:
    """The command-line argument that gives a list of `fetch` these values, quoted for a shell."""
    plain = re.compile(r"[\w./@+-]+", re.ASCII)
    items = [value if plain.fullmatch(value) else json.dumps(value, ensure_ascii=False) for value in values]
    return "--set " + shlex.quote(f"fetch.{option}=[{', '.join(items)}]")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet; one that wraps an IPv4 address is judged by that."""
    inner = _embedded(address)
    return not any(inner in network for network in _not_public())


def open_local(path: str, access: Access) -> int | Failure:
    """A descriptor of a regular file, for reading, or why there is none.

    The path is judged before anything is touched, and again by what was opened: the kernel names the file behind the
    descriptor, so a link that is exchanged between the two looks gains nothing. Only regular files are opened.

    Raises:
        OSError: as open does.
        ValueError: a NUL byte in the name.
    """
    real = os.path.realpath(path)
    refused = access.refuse_path(real)
    if refused is not None:
        return refused
    if not (hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")):
        return _open_elsewhere(real, access)
    pinned = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing yet: no device notices, no pipe waits
    try:
        link = f"/proc/self/fd/{pinned}"
        info = os.fstat(pinned)
        refused = access.refuse_path(os.readlink(link).removesuffix(" (deleted)" if info.st_nlink == 0 else ""))
        if refused is not None:
            return refused
        if not stat.S_ISREG(info.st_mode):
            return Failure("not_a_file", f"{path} is no regular file")
        return os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(pinned)


def _open_elsewhere(real: str, access: Access) -> int | Failure:
    """`open_local` where the kernel has no O_PATH (macOS) or /proc is not mounted."""
    if not stat.S_ISREG(os.lstat(real).st_mode):
        return Failure("not_a_file", f"{real} is no regular file")
    opened = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    info, now = os.fstat(opened), os.path.realpath(real)
    refused = access.refuse_path(now)
    if refused is None and not (stat.S_ISREG(info.st_mode) and os.path.samestat(info, os.lstat(now))):
        refused = Failure(NOT_ALLOWED, f"{real} was exchanged while it was opened")
    if refused is not None:
        os.close(opened)
        return refused
    return opened


@cache
def _not_public() -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in NOT_PUBLIC)


@cache
def _real_roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    """Local roots without links; those with a scheme are of other filesystems."""
    return tuple(dict.fromkeys(os.path.realpath(root) for root in roots if "://" not in root))


def _embedded(address: Address) -> Address:
    """The IPv4 address inside of an IPv6 one (mapped, 6to4, NAT64), or the address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _matches(name: str, entry: str) -> bool:
    """Whether a host's name is an entry of fetch.allowed_hosts; `*.example.org` takes what ends so."""
    entry = entry.rstrip(".").lower()
    return name.endswith(entry[1:]) if entry.startswith("*.") else name == entry and entry != PUBLIC


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _guarded(real: str) -> list[str]:
    """Places on the way to a file that are read only where they, or a folder in them, are named."""
    found = [place for place in _SYSTEM if _lies_in(real, place)]
    if any(_lies_in(real, place) for place in _SYSTEM_EXCEPT):
        found = []
    return found + [real[: match.end()] for match in _SECRETS.finditer(real)]
