"""What a holder of a SAS may try beside the matrix's probes, and the service's refusal of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from ringfence.layout import BucketRole
from ringfence.providers.azure.sas import SigningKey, directory_sas, mint
from ringfence.scope import AccessMode, Area, Grant, Scope, grants
from ringfence.testing.isolation import Place
from tests.azure.installation import Installation
from tests.azure.wire import Tenant, block_id, block_list, code, header, tenant_of, texts
from tests.isolation.wire import Reply

BLOCK = {"x-ms-blob-type": "BlockBlob"}


@dataclass(frozen=True)
class Scene:
    """``app1`` attacks ``app10``, whose object holds ``secret``."""

    installation: Installation
    grant: Grant
    tenant: Tenant
    sas: str

    @property
    def own(self) -> Place:
        return Place(self.grant.bucket, f"{self.grant.prefix}object")

    @property
    def foreign(self) -> Place:
        return Place(self.grant.bucket, f"{self.grant.prefix[:-1]}0/object")

    def at(self, place: Place) -> str:
        return self.tenant.at.path(place)

    @property
    def container(self) -> str:
        return self.tenant.at.container(self.grant.bucket)

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        sas: str | None = None,
    ) -> Reply:
        return self.tenant.send(method, target, self.sas if sas is None else sas, body, headers)

    def batch(self, *places: Place) -> Reply:
        parts = "".join(
            "--b\r\nContent-Type: application/http\r\nContent-ID: "
            f"{number}\r\n\r\nDELETE {self.at(place)}?{self.sas} HTTP/1.1\r\n\r\n\r\n"
            for number, place in enumerate(places)
        )
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        target = f"{self.container}?restype=container&comp=batch"
        return self.send("POST", target, f"{parts}--b--\r\n".encode(), headers)


def make_scene(installation: Installation, scope: Scope, area: Area = Area.APP) -> Scene:
    held = grants(scope, installation.case)
    grant = next(each for each in held if each.area is area)
    credentials = installation.issue((grant,))
    tenant = tenant_of(installation.front, installation.buckets, credentials)
    scene = Scene(installation, grant, tenant, tenant.tokens[0])
    for place, body in ((scene.own, b"own"), (scene.foreign, b"secret")):
        assert installation.owner.plant(place, body)
    return scene


@pytest.fixture
def scene(installation: Installation, scope: Scope) -> Scene:
    return make_scene(installation, scope)


def refused(reply: Reply) -> bool:
    return reply.status == 403 and code(reply).startswith(("Authentication", "Authorization"))


def swapped(sas: str, **fields: str) -> str:
    """The SAS with other values in it, as somebody would try who cannot sign."""
    parts = dict(part.split("=", 1) for part in sas.split("&"))
    return "&".join(f"{name}={value}" for name, value in (parts | fields).items())


def test_it_opens_its_own(scene: Scene) -> None:
    assert scene.send("GET", scene.at(scene.own)).body == b"own"


TAMPERINGS: dict[str, dict[str, str]] = {
    "more letters": {"sp": "racwdxyltmeop"},
    "a later end": {"se": "2999-01-01T00%3A00%3A00Z"},
    "less depth": {"sdd": "1"},
    "no depth": {"sdd": "0"},
    "more depth": {"sdd": "3"},
    "a depth that is none": {"sdd": "-1"},
    "of the container": {"sr": "c"},
    "of a blob": {"sr": "b"},
    "another version": {"sv": "2018-11-09"},
    "no signature": {"sig": ""},
    "another signature": {"sig": quote("A" * 43 + "=", safe="")},
    "a start": {"st": "2020-01-01T00%3A00%3A00Z"},
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_sas_that_was_changed_opens_nothing(scene: Scene, what: str) -> None:
    sas = swapped(scene.sas, **TAMPERINGS[what])
    for place in (scene.own, scene.foreign):
        reply = scene.send("GET", scene.at(place), sas=sas)
        assert refused(reply), reply
        assert b"secret" not in reply.body


def test_it_ends(scene: Scene) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    with scene.installation.front.with_rules(now=lambda: later):
        assert refused(scene.send("GET", scene.at(scene.own)))


def test_https_alone_where_there_is_https(scene: Scene) -> None:
    """The SAS of an installation with an https endpoint, on a way in clear."""
    sas = swapped(scene.sas, spr="https")
    assert refused(scene.send("GET", scene.at(scene.own), sas=sas))


def test_a_sas_of_an_https_endpoint_opens_by_https_and_in_no_other_way(scene: Scene) -> None:
    sas = directory_sas(scene.grant, scene.installation.buckets.of, "https://a.example")
    front = scene.installation.front
    key = SigningKey(front.azurite.key)
    made = mint(sas, scene.tenant.at.account, key, datetime.now(UTC) + timedelta(minutes=5))
    assert refused(scene.send("GET", scene.at(scene.own), sas=made))
    with front.with_rules(scheme="https"):
        assert scene.send("GET", scene.at(scene.own), sas=made).body == b"own"


CLIMBS: tuple[Callable[[Scene], str], ...] = (
    lambda s: s.at(s.own).replace("object", f"../{s.foreign.key.split('/')[-2]}/object"),
    lambda s: s.at(s.own).replace("object", f"%2e%2e/{s.foreign.key.split('/')[-2]}/object"),
    lambda s: s.at(s.own).replace("object", f"..%2F{s.foreign.key.split('/')[-2]}%2Fobject"),
    lambda s: s.at(s.own).replace("object", f"..%5C{s.foreign.key.split('/')[-2]}%5Cobject"),
    lambda s: s.at(s.own).replace("object", "./object"),
    lambda s: s.at(s.foreign).replace("/object", "%2Fobject"),
    lambda s: s.at(s.foreign).replace("object", "object%00"),
)


@pytest.mark.parametrize("climb", CLIMBS)
def test_no_path_climbs(scene: Scene, climb: Callable[[Scene], str]) -> None:
    reply = scene.send("GET", climb(scene))
    assert reply.status in {400, 403}, reply
    assert b"secret" not in reply.body


PREFIXES = ("", "a", "apps", "apps/", "{own}0/", "{own}0", "{half}", "users/", "{own}/../{own}0/")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_listing_of_another_place(scene: Scene, prefix: str) -> None:
    own = scene.grant.prefix.removesuffix("/")
    wanted = prefix.format(own=own, half=own[:-1])
    target = f"{scene.container}?restype=container&comp=list&prefix={quote(wanted, safe='')}"
    reply = scene.send("GET", target if wanted else target.removesuffix("&prefix="))
    assert refused(reply) or reply.status == 400, reply
    assert scene.foreign.key.encode() not in reply.body


def test_a_listing_of_the_bare_name_shows_what_is_in_it(scene: Scene) -> None:
    bare = scene.grant.prefix.removesuffix("/")
    target = f"{scene.container}?restype=container&comp=list&prefix={quote(bare, safe='')}"
    reply = scene.send("GET", target)
    assert texts(reply, "Blobs/Blob/Name") == [scene.own.key]


def test_a_second_prefix_is_not_listed(scene: Scene) -> None:
    twice = f"prefix={quote(scene.grant.prefix)}&prefix={quote(scene.foreign.key[:-6])}"
    reply = scene.send("GET", f"{scene.container}?restype=container&comp=list&{twice}")
    assert reply.status == 400
    assert scene.foreign.key.encode() not in reply.body


def test_no_batch(scene: Scene) -> None:
    """Not even of its own objects; obstore's own delete is one, which is why stores have theirs."""
    for places in ((scene.own,), (scene.own, scene.foreign)):
        assert refused(scene.batch(*places))
    assert scene.installation.owner.read(scene.own) == b"own"
    assert scene.installation.owner.read(scene.foreign) == b"secret"


SOURCES: dict[str, Callable[[Scene], str]] = {
    "by the own SAS": lambda s: f"{s.at(s.foreign)}?{s.sas}",
    "without a SAS": lambda s: s.at(s.foreign),
    "by a made-up SAS": lambda s: f"{s.at(s.foreign)}?{swapped(s.sas, sig='x')}",
}


@pytest.mark.parametrize("how", SOURCES)
@pytest.mark.parametrize("block", [False, True])
def test_no_copy_of_a_neighbours(scene: Scene, how: str, block: bool) -> None:
    source = f"{scene.tenant.at.root}{SOURCES[how](scene)}"
    to = Place(scene.grant.bucket, f"{scene.grant.prefix}stolen")
    query = f"?comp=block&blockid={quote(block_id(1), safe='')}" if block else ""
    headers = {"x-ms-copy-source": source}
    assert scene.send("PUT", f"{scene.at(to)}{query}", b"", headers).status == 403
    assert scene.installation.owner.read(to) is None


def test_what_is_above_the_directory_is_out_of_reach(scene: Scene) -> None:
    account = f"/{scene.tenant.at.account}"
    for method, target in (
        ("GET", f"{account}/?comp=list"),
        ("GET", f"{account}/?restype=service&comp=properties"),
        ("POST", f"{account}/?restype=service&comp=userdelegationkey"),
        ("GET", f"{account}/?restype=account&comp=properties"),
        ("PUT", f"{account}/another?restype=container"),
        ("DELETE", f"{scene.container}?restype=container"),
        ("GET", f"{scene.container}?restype=container"),
        ("GET", f"{scene.container}?restype=container&comp=acl"),
        ("PUT", f"{scene.container}?restype=container&comp=acl"),
        ("PUT", f"{scene.container}?restype=container&comp=metadata"),
        ("PUT", f"{scene.container}?restype=container&comp=lease"),
    ):
        reply = scene.send(method, target)
        assert refused(reply), (method, target, reply)


def test_letters_that_nobody_is_given(scene: Scene) -> None:
    """Tags, tiers, leases, versions, rights, renames: nothing of it by any SAS."""
    own = scene.at(scene.own)
    for method, query, headers in (
        ("PUT", "comp=tags", {}),
        ("GET", "comp=tags", {}),
        ("PUT", "comp=tier", {"x-ms-access-tier": "Cool"}),
        ("PUT", "comp=lease", {"x-ms-lease-action": "acquire"}),
        ("PUT", "comp=immutabilityPolicies", {}),
        ("PUT", "comp=appendblock", {}),
        ("PUT", "", {"x-ms-blob-type": "AppendBlob"}),
        ("PATCH", "action=setAccessControl", {"x-ms-acl": "other::rwx"}),
        ("PUT", "mode=legacy", {"x-ms-rename-source": "/x/y"}),
    ):
        reply = scene.send(method, f"{own}?{query}" if query else own, b"", dict(headers))
        assert refused(reply) or reply.status == 400, (method, query, reply)
    assert scene.installation.owner.read(scene.own) == b"own"


BLOCKS = (
    ("PUT", f"comp=block&blockid={quote(block_id(1), safe='')}", b"x"),
    ("PUT", "comp=blocklist", block_list(block_id(1))),
)


def test_a_write_only_place_takes_blocks_and_tells_nothing(
    installation: Installation, scope: Scope
) -> None:
    """``Get Block List`` reads, so it needs ``r``, which a log has not."""
    scene = make_scene(installation, scope, Area.LOGS)
    new = Place(BucketRole.LOG, f"{scene.grant.prefix}blocks")
    for method, query, body in BLOCKS:
        assert scene.send(method, f"{scene.at(new)}?{query}", body).status == 201
        other = scene.at(scene.foreign).replace("/object", "/blocks")
        assert refused(scene.send(method, f"{other}?{query}", body))
    assert refused(scene.send("GET", f"{scene.at(new)}?comp=blocklist&blocklisttype=all"))
    assert refused(scene.send("GET", scene.at(new)))
    assert refused(scene.send("DELETE", scene.at(new)))


def test_a_readers_block_list_is_its_own(installation: Installation, scope: Scope) -> None:
    scene = make_scene(installation, Scope(scope.app_id, scope.user_id, mode=AccessMode.READ_APP))
    query = "comp=blocklist&blocklisttype=all"
    assert scene.send("GET", f"{scene.at(scene.own)}?{query}").status == 200
    assert refused(scene.send("GET", f"{scene.at(scene.foreign)}?{query}"))


def test_a_presigned_url_is_good_for_one_method_on_one_object(
    installation: Installation, scope: Scope
) -> None:
    scene = make_scene(installation, scope)
    minute = timedelta(minutes=1)
    url = installation.provider.sign(scene.grant, "object", "GET", minute)
    target, _, sas = url.removeprefix(scene.tenant.at.root).partition("?")
    assert scene.send("GET", target, sas=sas).body == b"own"
    assert refused(scene.send("DELETE", target, sas=sas))
    assert refused(scene.send("PUT", target, b"x", BLOCK, sas=sas))
    for place in (scene.foreign, Place(scene.grant.bucket, f"{scene.own.key}/below")):
        assert refused(scene.send("GET", scene.at(place), sas=sas))
    listing = f"{scene.container}?restype=container&comp=list&prefix={quote(scene.grant.prefix)}"
    assert refused(scene.send("GET", listing, sas=sas))
    put = installation.provider.sign(scene.grant, "new", "PUT", minute)
    target, _, sas = put.removeprefix(scene.tenant.at.root).partition("?")
    assert scene.send("PUT", target, b"put", BLOCK, sas=sas).status == 201
    assert refused(scene.send("GET", target, sas=sas))


def test_head_says_why_in_a_header(scene: Scene) -> None:
    reply = scene.send("HEAD", scene.at(scene.foreign))
    assert (reply.status, header(reply, "x-ms-error-code")) == (403, "AuthenticationFailed")
