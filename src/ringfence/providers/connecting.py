"""What every connection to a cloud needs of this machine: proxies and certificates.

Both libraries, obstore and httpx, read proxies from the environment, and both would send a request
for an engine on this machine to one, signed with the installation's own keys. Such an engine is
asked directly, whatever the environment says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ringfence.config import process_environment
from ringfence.errors import ConfigError, Problem

if TYPE_CHECKING:
    import httpx

LOOPBACK: Final = "127.0.0.0/8,::1,localhost"
"""In the words of NO_PROXY, which obstore's ``proxy_excludes`` takes. Names below it are in it."""

STS_TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES: Final = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine: 127.0.0.0/8, ::1, localhost and names below it."""
    from ipaddress import ip_address

    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_before(url: str) -> str | None:
    """The variable whose proxy requests for a URL go through, or None where they go directly."""
    env = process_environment()
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(url) or _is_excluded(host, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return None
    names = (f"{parts.scheme.upper()}_PROXY", "ALL_PROXY")
    return next((name for wanted in names for name in _set(env, wanted)), None)


def check_proxies() -> None:
    """Refuses a proxy that is none. obstore would leave it out without a word; httpx would fail.

    Raises:
        ConfigError: one for each variable that holds no URL of a proxy.
    """
    env = process_environment()
    bad = [name for proxy in _PROXIES for name in _set(env, proxy) if not _is_proxy(env[name])]
    if bad:
        # Not quoted: it may hold a password.
        raise ConfigError(tuple(_no_proxy(name, "set, but to no URL of a proxy") for name in bad))


def no_certificates() -> ConfigError:
    """The error to raise where no certificate authority could be loaded."""
    env = process_environment()
    expected = "certificates of the authorities to trust, in PEM"
    hint = "Correct or unset it, or install the system's own: the package ca-certificates."
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if env.get(name)]
    problems = [
        Problem(name, f"{env[name]!r}, where none can be read", expected, hint) for name in named
    ]
    return ConfigError(tuple(problems) or (Problem("SSL_CERT_FILE", None, expected, hint),))


def open_client(endpoint: str, transport: httpx.BaseTransport | None) -> httpx.Client:
    """A client for requests to an endpoint, bounded in time. A ``transport`` is used as it is.

    Raises:
        ConfigError: the proxy or the certificates that the environment names cannot be used.
    """
    import httpx  # costs 0.15 s, paid only by who asks for credentials

    # Loading the certificates takes 20 ms, for nothing where there is no TLS.
    verify = endpoint.startswith("https:")
    timeout = httpx.Timeout(STS_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        if transport is None and is_loopback(endpoint):
            # A client with a transport of its own looks for no proxy.
            transport = httpx.HTTPTransport(verify=verify)
        elif transport is None:
            check_proxies()
        return httpx.Client(timeout=timeout, transport=transport, verify=verify)
    except OSError:
        raise no_certificates() from None
    except ImportError:  # of what SOCKS needs
        name = proxy_before(endpoint) or "ALL_PROXY"
        raise ConfigError(
            (_no_proxy(name, "a SOCKS proxy, which STS is not asked through"),)
        ) from None


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        # Looking at the port is what checks it.
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _set(env: Mapping[str, str], name: str) -> Iterator[str]:
    return (spelt for spelt in (name.lower(), name) if env.get(spelt))


def _no_proxy(name: str, found: str) -> Problem:
    hint = "Correct or unset it."
    return Problem(name, found, "one like http://proxy.example.com:3128", hint)


def _is_excluded(host: str, no_proxy: str) -> bool:
    """As far as a message needs it: names and domains, not ranges of addresses."""
    entries = (entry.strip().lstrip(".").lower() for entry in no_proxy.split(","))
    return any(entry and (entry in {"*", host} or host.endswith(f".{entry}")) for entry in entries)
