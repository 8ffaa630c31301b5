"""An engine of its own for the tests here, and installations on the double before it.

Its ids are exact while the shared engine's are folded, and an installation's choice is kept in its
meta bucket, so the two cannot share one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ringfence.scope import Scope, grants
from tests.embedded.support import RunningEngine, start, stop
from tests.r2.installation import R2Installation, Tls, installed, make_tls


@pytest.fixture(scope="session")
def r2_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    running = start(tmp_path_factory.mktemp("r2-engine") / "state")
    yield running
    stop(running)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("r2-tls"))


@pytest.fixture(scope="session")
def local(r2_engine: RunningEngine) -> Iterator[R2Installation]:
    """Credentials signed here, over http."""
    with installed(r2_engine, "local") as made:
        yield made


@pytest.fixture(scope="session")
def by_api(r2_engine: RunningEngine) -> Iterator[R2Installation]:
    """Credentials of Cloudflare's API, over http."""
    with installed(r2_engine, "api") as made:
        yield made


@pytest.fixture(scope="session")
def over_tls(r2_engine: RunningEngine, tls: Tls) -> Iterator[R2Installation]:
    """Credentials signed here, over https."""
    with installed(r2_engine, "local", tls=tls) as made:
        yield made


@pytest.fixture(scope="session")
def api_over_tls(r2_engine: RunningEngine, tls: Tls) -> Iterator[R2Installation]:
    """Credentials of Cloudflare's API, over https."""
    with pytest.MonkeyPatch.context() as patch:
        # The way by which an installation trusts an authority of its own.
        patch.setenv("SSL_CERT_FILE", str(tls.ca))
        with installed(r2_engine, "api", tls=tls) as made:
            made.provider.issue(grants(Scope("a", "u", "r")), session="opens the connection")
            yield made


@pytest.fixture
def installation(request: pytest.FixtureRequest) -> R2Installation:
    """The installation that a test is parametrized with, by name."""
    made: R2Installation = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def tag() -> str:
    """Makes ids of their own for a test, so that nobody else's work is in its places."""
    return secrets.token_hex(3)


@pytest.fixture
def scope(tag: str) -> Scope:
    return Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")
