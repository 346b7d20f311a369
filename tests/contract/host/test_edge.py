"""Who may call: the invoker bindings of the graph, checked as Cloud Run's edge does."""

from __future__ import annotations

import pytest
from geminivideo.runtime.clock import Clock

from emulators.identity import Issuer


def test_no_token_is_403(serve):
    """An unauthenticated call of a closed function is forbidden before any process starts."""
    call = serve(echo={})
    assert call("echo", token=None).status == 403
    assert call.host.processes() == []


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "eyJh.eyJh.eyJh"])
def test_a_token_that_is_none_is_401(serve, token):
    """What cannot be read as a signed ID token is unauthorised, with the challenge."""
    reply = serve(echo={})("echo", token=token)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_for_another_audience_is_401(serve):
    """The audience must be this function's own URL."""
    call = serve(echo={}, other={})
    stray = call.issuer.mint(call.specs["other"].url, call.invoker)
    assert call("echo", token=stray).status == 401
    assert call("other", token=stray).status == 200


def test_a_token_of_another_issuer_is_401(serve, tmp_path):
    """A key of another cloud opens nothing here."""
    call = serve(echo={})
    foreign = Issuer(state_dir=tmp_path / "elsewhere", clock=Clock())
    assert call("echo", token=foreign.mint(call.specs["echo"].url, call.invoker)).status == 401


def test_an_expired_token_is_401_on_the_clouds_clock(serve):
    """Expiry follows the accelerated clock: an hour of it passes in milliseconds here."""
    clock = Clock.starting_now(speed=7200_000)
    call = serve(clock=clock, echo={})
    token = call.issuer.mint(call.specs["echo"].url, call.invoker)
    clock.sleep(3700)
    assert call("echo", token=token).status == 401


def test_an_account_without_the_role_is_403_by_name(serve):
    """A verified caller without run.invoker is told so."""
    call = serve(echo={})
    stranger = call.issuer.mint(call.specs["echo"].url, "stranger@test.iam.gserviceaccount.com")
    reply = call("echo", token=stranger)
    assert reply.status == 403
    assert "stranger@test.iam.gserviceaccount.com lacks roles/run.invoker" in reply.text


def test_a_function_without_bindings_admits_nobody(serve):
    """Forgetting the binding in the infrastructure fails here as it would there."""
    assert serve(echo={"invokers": ()})("echo").status == 403


def test_all_users_and_the_exempted_need_no_token(serve):
    """``allUsers`` opens a function; the local profile exempts the services by name."""
    call = serve(open={"invokers": ("allUsers",)}, service={"invokers": ()}, exempt=["service"])
    assert call("open", token=None).status == 200
    assert call("service", token=None).status == 200


def test_the_function_sees_who_called_but_cannot_use_the_token(serve):
    """Cloud Run strips the signature before the container sees the token."""
    seen = serve(echo={})("echo").json["headers"]["Authorization"]
    assert seen.endswith(".SIGNATURE_REMOVED_BY_GOOGLE")
