"""Which ad a deal came from, by the best evidence there is; without any, nobody guesses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from geminivideo.budget.signals import HOUR_S
from geminivideo.policy import AttributionPolicy


class Method(StrEnum):
    """How the ad was found, best first."""

    CLICK_ID = "click_id"
    UTM = "utm_content"
    FINGERPRINT = "fingerprint"
    NETWORK = "ip_and_user_agent"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Click:
    """A click on one of our ads, as it was tracked; empty means not known."""

    ad_id: str
    at: float
    click_id: str = ""
    fbclid: str = ""
    fingerprint: str = ""
    ip: str = ""
    user_agent: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """What a deal brought along of the visit at ``at`` that it began with; empty: not known."""

    at: float
    click_id: str = ""
    fbclid: str = ""
    utm_content: str = ""
    fingerprint: str = ""
    ip: str = ""
    user_agent: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """The ad (``None``: unattributed), how sure that is (0-1), and the click if there was one."""

    ad_id: str | None
    method: Method
    confidence: float
    reason: str
    clicked_at: float | None = None


def attribute(
    touch: Touch, clicks: Iterable[Click], ads: Collection[str], policy: AttributionPolicy
) -> Attribution:
    """The first way that finds an ad, in the order of ``Method``.

    ``ads`` are the account's own: a ``utm_content`` that names none of them is no evidence.
    """
    past = sorted((click for click in clicks if click.at <= touch.at), key=_age)
    for way in (_by_click_id, _by_utm, _by_fingerprint, _by_network):
        found = way(touch, past, ads, policy)
        if found is not None:
            return found
    return Attribution(
        ad_id=None,
        method=Method.UNATTRIBUTED,
        confidence=0.0,
        reason="no click id, ad id, fingerprint or address leads to a click on our ads",
    )


def _age(click: Click) -> tuple[float, str]:
    return (-click.at, click.ad_id)


def _by_click_id(
    touch: Touch, past: Sequence[Click], ads: Collection[str], policy: AttributionPolicy
) -> Attribution | None:
    def same(click: Click) -> bool:
        own = bool(touch.click_id) and click.click_id == touch.click_id
        return own or (bool(touch.fbclid) and click.fbclid == touch.fbclid)

    found = _newest(touch, past, policy.click_id_hours, same)
    if found is None:
        return None
    return _found(found, Method.CLICK_ID, policy.click_id_confidence, touch)


def _by_utm(
    touch: Touch, past: Sequence[Click], ads: Collection[str], policy: AttributionPolicy
) -> Attribution | None:
    if touch.utm_content not in ads:
        return None
    return Attribution(
        ad_id=touch.utm_content,
        method=Method.UTM,
        confidence=policy.utm_confidence,
        reason=f"utm_content names ad {touch.utm_content}",
    )


def _by_fingerprint(
    touch: Touch, past: Sequence[Click], ads: Collection[str], policy: AttributionPolicy
) -> Attribution | None:
    def same(click: Click) -> bool:
        return bool(touch.fingerprint) and click.fingerprint == touch.fingerprint

    found = _newest(touch, past, policy.fingerprint_hours, same)
    if found is None:
        return None
    return _found(found, Method.FINGERPRINT, policy.fingerprint_confidence, touch)


def _by_network(
    touch: Touch, past: Sequence[Click], ads: Collection[str], policy: AttributionPolicy
) -> Attribution | None:
    """Address and browser both equal; the confidence falls with time and is shared by the ads."""
    if not (touch.ip and touch.user_agent):
        return None
    candidates = [
        click
        for click in past
        if _hours(touch, click) <= policy.network_hours
        and (click.ip, click.user_agent) == (touch.ip, touch.user_agent)
    ]
    if not candidates:
        return None
    newest, among = candidates[0], len({click.ad_id for click in candidates})
    elapsed = _hours(touch, newest) / policy.network_hours
    fall = policy.network_confidence - policy.network_confidence_end
    confidence = (policy.network_confidence - fall * elapsed) / among
    return _found(newest, Method.NETWORK, round(confidence, 4), touch)


def _newest(
    touch: Touch, past: Sequence[Click], hours: float, same: Callable[[Click], bool]
) -> Click | None:
    return next((c for c in past if same(c) and _hours(touch, c) <= hours), None)


def _hours(touch: Touch, click: Click) -> float:
    return (touch.at - click.at) / HOUR_S


def _found(click: Click, method: Method, confidence: float, touch: Touch) -> Attribution:
    words = f"{method} of a click on ad {click.ad_id}, {_hours(touch, click):.1f} h before"
    return Attribution(
        ad_id=click.ad_id,
        method=method,
        confidence=confidence,
        reason=words,
        clicked_at=click.at,
    )
