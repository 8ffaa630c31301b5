"""A secret shows itself to ``reveal()`` and to nothing else."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from ringfence.secret import REDACTED, Secret

VALUE = "wJalrXUtnFEMI/K7MDENG"


@dataclasses.dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


def test_reveal_is_the_value() -> None:
    assert Secret(VALUE).reveal() == VALUE


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(VALUE)),
        repr(Secret(VALUE)),
        f"{Secret(VALUE)}",
        f"{Secret(VALUE)!r:>40}",
        "%s %r" % (Secret(VALUE), Secret(VALUE)),  # noqa: UP031 - one of the ways to show it
        "{}".format(Secret(VALUE)),  # noqa: UP032 - another
        repr([Secret(VALUE)]),
        repr({"key": Secret(VALUE)}),
        repr(Holder("x", Secret(VALUE))),
        repr(dataclasses.asdict(Holder("x", Secret(VALUE)))),
        json.dumps({"key": Secret(VALUE)}, default=str),
        repr(copy.deepcopy(Holder("x", Secret(VALUE)))),
        str(dir(Secret(VALUE))),
    ],
)
def test_every_way_to_show_it_shows_stars_or_nothing(shown: str) -> None:
    assert VALUE not in shown


def test_stars_stand_for_it() -> None:
    assert str(Secret(VALUE)) == REDACTED
    assert REDACTED in repr(Secret(VALUE))
    assert len(str(Secret("x"))) == len(str(Secret(VALUE))), "its length would say something"


def test_json_refuses_it_and_its_message_does_not_show_it() -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"key": Secret(VALUE)})
    assert VALUE not in str(caught.value)


def test_it_has_no_dictionary_to_be_shown() -> None:
    assert not hasattr(Secret(VALUE), "__dict__")
    with pytest.raises(TypeError):
        vars(Secret(VALUE))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused(protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(VALUE), protocol)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Holder("x", Secret(VALUE)), protocol)


def test_a_copy_is_the_same_secret() -> None:
    secret = Secret(VALUE)
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret


def test_a_log_and_a_traceback_do_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(VALUE)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("using %s and %r", secret, {"key": secret})
    assert VALUE not in caplog.text
    assert REDACTED in caplog.text
    try:
        raise ValueError(f"no: {secret}")
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert VALUE not in "".join(shown.format())


def test_equality_and_hash_are_by_value() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE
    assert len({Secret(VALUE), Secret(VALUE)}) == 1
    assert hash(Secret(VALUE)) != hash(VALUE)


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(VALUE)
