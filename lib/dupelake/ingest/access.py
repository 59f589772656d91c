"""Access rules of a run: which folders, hosts and schemes it may read (options fetch.allowed_*).

The author of a manifest may have fewer rights than the executors. So a local file, after links and `..` are resolved,
must lie in the folder of its manifest or in one of fetch.allowed_roots. A host must be public unless
fetch.allowed_hosts names it. A refused file becomes a failed row with the reason `not_allowed`; its message names the
option to set.
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
from dupelake.ingest.members import container_of
from dupelake.ingest.uris import local_path

NOT_ALLOWED = "not_allowed"

# IANA's special-purpose registries: addresses that no public server has. 168.63.129.16 is Azure's "wire server".
# IPv6 uses 2000::/3 only; 2001::/23 holds Teredo and benchmarks. fetch.allowed_hosts permits any of these.
NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "3fff::/20"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# An allowed root above these folders does not permit them; a root inside them does. Devices and pipes are never opened.
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
    """The access rules of one run; small, sent to the workers.

    Attributes:
        cfg: the options.
        own_roots: folders of the run's manifests and trees (see `own_roots`), absolute local paths.
    """

    cfg: FetchConfig
    own_roots: tuple[str, ...] = ()

    def refuse_scheme(self, scheme: str) -> Failure | None:
        """The failure of a URI whose scheme is not allowed, or None. A path without a scheme has the scheme `file`."""
        if scheme.lower() in self.cfg.allowed_schemes:
            return None
        given = ", ".join(self.cfg.allowed_schemes)
        fix = setting("allowed_schemes", [*self.cfg.allowed_schemes, scheme.lower()])
        return Failure(NOT_ALLOWED, f"{scheme}: is not in fetch.allowed_schemes ({given}); to read it: {fix}")

    def looks_refused(self, uri: str | None) -> bool:
        """Whether a URI will be refused, by its text alone: no link is followed and no host name is resolved."""
        if uri is None:
            return False
        uri = container_of(uri)
        path = local_path(uri)
        if path is None:
            return self.refuse_scheme(uri.partition("://")[0]) is not None
        given = (*self.own_roots, *(root for root in self.cfg.allowed_roots if "://" not in root))
        place = os.path.normpath(path)
        inside = any(_lies_in(place, os.path.normpath(root)) for root in (*given, *_real_roots(given)))
        return not inside or self.refuse_scheme("file") is not None

    def refuse_host(self, host: str, addresses: Sequence[str]) -> Failure | None:
        """The failure of a host that is not allowed, or None.

        Args:
            host: a name or an address, as written in the URL.
            addresses: all addresses of the host; each must be allowed.
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
        """The failure of a local file that is not allowed, or None.

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
    """The folders that the PATHs of a command line permit: each tree of images, and the folder of each manifest.

    A table that is a folder (Delta, written by Spark, named like `day.parquet`) is one manifest in its parent folder.
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
    """The command-line argument that sets a list option of `fetch` to these values, quoted for a shell."""
    plain = re.compile(r"[\w./@+-]+", re.ASCII)
    items = [value if plain.fullmatch(value) else json.dumps(value, ensure_ascii=False) for value in values]
    return "--set " + shlex.quote(f"fetch.{option}=[{', '.join(items)}]")


def is_public(address: Address) -> bool:
    """Whether an address is public. An IPv6 address that embeds an IPv4 address is judged by the latter."""
    inner = _embedded(address)
    return not any(inner in network for network in _not_public())


def open_local(path: str, access: Access) -> int | Failure:
    """Opens a regular file for reading: its descriptor, or the failure.

    The path is checked before the file is opened, and again afterwards: the kernel gives the path of the descriptor, so
    replacing a link between the two checks has no effect. Only regular files are opened.

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
    pinned = os.open(path, os.O_PATH | os.O_CLOEXEC)  # not opened for reading yet: no effect on devices or pipes
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
    """Local roots with links resolved; roots with a scheme are left out."""
    return tuple(dict.fromkeys(os.path.realpath(root) for root in roots if "://" not in root))


def _embedded(address: Address) -> Address:
    """The IPv4 address embedded in an IPv6 address (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _matches(name: str, entry: str) -> bool:
    """Whether a host name matches an entry of fetch.allowed_hosts; `*.example.org` matches all names below it."""
    entry = entry.rstrip(".").lower()
    return name.endswith(entry[1:]) if entry.startswith("*.") else name == entry and entry != PUBLIC


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _guarded(real: str) -> list[str]:
    """Protected folders above a file: readable only if an allowed root is such a folder or lies in it."""
    found = [place for place in _SYSTEM if _lies_in(real, place)]
    if any(_lies_in(real, place) for place in _SYSTEM_EXCEPT):
        found = []
    return found + [real[: match.end()] for match in _SECRETS.finditer(real)]
