"""What people decide about promotion: ads excluded, included, forced; all paused; requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from geminivideo.cloud.documents import Query, Transaction
from geminivideo.learning_records import Override, PromotionOverrides, VariationRequest
from geminivideo.records import Account, AdState
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.services import variations
from geminivideo.services.change_control import Decision, who
from geminivideo.services.promotion_evidence import overrides_of, overrides_path

_MAX_REASON = 500


@dataclass(frozen=True, kw_only=True)
class AdDecision:
    """About which ad somebody decides, who, and why."""

    ad_id: str
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class OverridesShown:
    """What stands for an account: overrides by ad, and the requests for variations of winners."""

    account_id: str
    excluded: dict[str, Override] = field(default_factory=dict)
    forced: dict[str, Override] = field(default_factory=dict)
    paused: Override | None = None
    variations: list[VariationRequest] = field(default_factory=list)


Change = Callable[[PromotionOverrides, Override], PromotionOverrides]


def show(call: Call) -> OverridesShown:
    """What people decided about an account's promotions, and what waits for them."""
    account_id = _account(call)
    return _shown(call, overrides_of(call.ports.documents, account_id))


def exclude(call: Call) -> OverridesShown:
    """Never promote this ad; what is queued already is decided with the change itself."""
    ad_id = _ad(call)

    def change(kept: PromotionOverrides, said: Override) -> PromotionOverrides:
        forced = {other: wish for other, wish in kept.forced.items() if other != ad_id}
        return replace(kept, excluded={**kept.excluded, ad_id: said}, forced=forced)

    return _changed(call, change)


def include(call: Call) -> OverridesShown:
    """Take back what was said of an ad: it is promoted when it wins."""
    ad_id = _ad(call)

    def change(kept: PromotionOverrides, said: Override) -> PromotionOverrides:
        return replace(
            kept,
            excluded={other: old for other, old in kept.excluded.items() if other != ad_id},
            forced={other: old for other, old in kept.forced.items() if other != ad_id},
        )

    return _changed(call, change)


def force(call: Call) -> OverridesShown:
    """Promote this ad in the next cycle, once, whatever its numbers: the limits hold all the same.

    It takes back an exclusion.
    """
    ad_id = _ad(call)

    def change(kept: PromotionOverrides, said: Override) -> PromotionOverrides:
        excluded = {other: old for other, old in kept.excluded.items() if other != ad_id}
        return replace(kept, forced={**kept.forced, ad_id: said}, excluded=excluded)

    return _changed(call, change)


def pause(call: Call) -> OverridesShown:
    """Promote nothing of this account."""
    return _changed(call, lambda kept, said: replace(kept, paused=said))


def resume(call: Call) -> OverridesShown:
    """Promote again."""
    return _changed(call, lambda kept, said: replace(kept, paused=None))


def approve(call: Call) -> VariationRequest:
    """Let a request for variations of a winner start its flow."""
    return _decide(call, yes=True)


def reject(call: Call) -> VariationRequest:
    """End a request for variations of a winner: nothing is made."""
    return _decide(call, yes=False)


def _decide(call: Call, *, yes: bool) -> VariationRequest:
    by, ports = who(call, call.body.by), call.ports
    try:
        return variations.decide(
            ports.documents, ports, call.path["id"], by, ports.clock.now(), yes=yes
        )
    except variations.NoRequestError as error:
        raise ApiError(404, str(error)) from error
    except variations.VariationsError as error:
        raise ApiError(409, str(error)) from error


def _account(call: Call) -> str:
    account_id = call.path["id"]
    if call.ports.documents.get(f"accounts/{account_id}", Account) is None:
        raise ApiError(404, f"no account {account_id}")
    return account_id


def _ad(call: Call) -> str:
    """The ad named; one of another account is refused, one that is not known yet is not."""
    ad_id = identifier(call.body.ad_id, "ad_id")
    state = call.ports.documents.get(f"ad_states/{ad_id}", AdState)
    if state is not None and state.account_id != call.path["id"]:
        raise ApiError(409, f"ad {ad_id} is of account {state.account_id}")
    return ad_id


def _changed(call: Call, change: Change) -> OverridesShown:
    account_id, by = _account(call), who(call, call.body.by)
    said = Override(by=by, at=call.ports.clock.now(), reason=call.body.reason[:_MAX_REASON])

    def body(transaction: Transaction) -> PromotionOverrides:
        changed = change(overrides_of(transaction, account_id), said)
        transaction.set(overrides_path(account_id), changed)
        return changed

    return _shown(call, call.ports.documents.transact(body))


def _shown(call: Call, kept: PromotionOverrides) -> OverridesShown:
    of_account = Query("variation_requests", [("account_id", "==", kept.id)])
    requests = call.ports.documents.query(of_account, VariationRequest)
    return OverridesShown(
        account_id=kept.id,
        excluded=kept.excluded,
        forced=kept.forced,
        paused=kept.paused,
        variations=sorted(requests, key=lambda one: (-one.at, one.id)),
    )


def serve(api: Api) -> None:
    """The routes of the gateway."""
    promotion = "/api/promotion/{id}"
    api.get(promotion, answer=OverridesShown)(show)
    for name, handler in (("exclude", exclude), ("include", include), ("force", force)):
        api.post(f"{promotion}/{name}", body=AdDecision, answer=OverridesShown)(handler)
    for name, handler in (("pause", pause), ("resume", resume)):
        api.post(f"{promotion}/{name}", body=Decision, answer=OverridesShown)(handler)
    request = "/api/variation-requests/{id}"
    api.post(f"{request}/approve", body=Decision, answer=VariationRequest)(approve)
    api.post(f"{request}/reject", body=Decision, answer=VariationRequest)(reject)
