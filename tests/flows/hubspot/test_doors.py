"""The doors by themselves: what they say when something is not configured, not known, or down."""

import dataclasses
import hashlib
import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import flask
import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.events import DealsTouched, ReconciliationDue
from geminivideo.records import (
    Account,
    AdState,
    Deal,
    Reconciliation,
    TrackedClick,
    Unattributed,
)
from geminivideo.runtime import http
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.outbox import OutboxRow
from geminivideo.runtime.step import door_of
from geminivideo.services import deals
from geminivideo.topology import topics
from google.cloud import pubsub_v1
from werkzeug.test import EnvironBuilder

from emulators.firestore import Index
from emulators.firestore import Server as Firestore
from emulators.hubspot import Currencies
from emulators.hubspot import Server as HubSpot
from emulators.pubsub import Server as PubSub
from infra.indexes import INDEXES

ROOT = Path(__file__).resolve().parents[3]
PORTAL = 7
WITHOUT = "won-without-amount:default/closedwon"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("doors")
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    pubsub = PubSub(state_dir=where / "pubsub", clock=Clock())
    crm = HubSpot(state_dir=where / "crm", clock=Clock(), tokens={"pat"}, portal_id=PORTAL)
    for server in (firestore, pubsub, crm):
        server.start()
    firestore.declare_indexes(Index.of(i.collection, *i.fields) for i in INDEXES)
    yield firestore, pubsub, crm
    for server in (crm, pubsub, firestore):
        server.stop()


@pytest.fixture
def environment(servers, monkeypatch, request):
    firestore, pubsub, crm = servers
    project = "p-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": project,
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{firestore.port}",
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.port}",
        "GV_REGION": "r",
        "GV_UPLOADS_BUCKET": "u",
        "GV_MEDIA_BUCKET": "m",
        "GV_MODELS_BUCKET": "o",
        "GV_HUBSPOT_API_URL": crm.url,
        "HUBSPOT_TOKEN": "pat",
    }.items():
        monkeypatch.setenv(name, value)
    deals._opened.cache_clear()  # as in a process that has asked for nothing yet
    for name in ("HUBSPOT_SECRET", "GV_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for topic in topics():
        pubsub_v1.PublisherClient().create_topic(name=f"projects/{project}/topics/{topic}")
    return project


@pytest.fixture
def documents(environment):
    return Documents(environment)


def load(step):
    """A function's module, with clients of its own."""
    path = ROOT / "functions" / "budget" / step / "main.py"
    spec = importlib.util.spec_from_file_location(f"{step}_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def post(body, **headers):
    """One call of the webhook without its server: status and JSON."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    builder = EnvironBuilder(method="POST", path="/api/webhook/hubspot", data=body, headers=given)
    answer = load("hubspot_webhook").api(flask.Request(builder.get_environ()))
    return answer.status_code, json.loads(answer.get_data())


def account(documents, account_id="acc", **members):
    made = Account(
        id=account_id, ad_account_id="act_1", page_id="1", link_url="https://e.com",
        **{"hubspot_portal_id": PORTAL, **members},
    )  # fmt: skip
    documents.set(f"accounts/{account_id}", made)
    return made


def touched(deal_id, cause="test"):
    return DealsTouched(portal_id=PORTAL, deal_ids=(deal_id,), cause=cause)


@pytest.mark.parametrize("secret", ["", "not-configured"])
def test_without_a_secret_nothing_is_taken_outside_this_machine(environment, monkeypatch, secret):
    """503 that names the setting; only the local profile takes it, unverified."""
    monkeypatch.setenv("HUBSPOT_SECRET", secret)
    status, answer = post(b"[]")
    assert status == 503
    assert "hubspotSecret" in answer["error"]
    monkeypatch.setenv("GV_PROFILE", "local")
    assert post(b"[]") == (
        200, {"status": "accepted", "events": 0, "ignored": 0, "verified": False},
    )  # fmt: skip


def test_v1_is_taken_by_explicit_choice_only(environment, monkeypatch):
    """A v1 signature is refused until the stack says v1."""
    body = b"[]"
    monkeypatch.setenv("HUBSPOT_SECRET", "s")
    monkeypatch.setenv("GV_HUBSPOT_URL", "https://x.example/api/webhook/hubspot")
    digest = hashlib.sha256(b"s" + body).hexdigest()
    assert post(body, X_HubSpot_Signature=digest)[0] == 401
    monkeypatch.setenv("GV_HUBSPOT_SIGNATURE", "v1")
    assert post(body, X_HubSpot_Signature=digest)[0] == 200


def test_a_bus_that_is_down_leaves_the_events_to_the_sweeper(environment, documents, monkeypatch):
    """200 all the same: stored, and unpublished in the outbox."""
    monkeypatch.setenv("GV_PROFILE", "local")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr(http, "PUBLISH_PATIENCE_S", 0.3)
    event = {
        "objectId": 5, "portalId": PORTAL, "occurredAt": 1_700_000_000_000, "subscriptionId": 1,
        "subscriptionType": "deal.creation",
    }  # fmt: skip
    assert post(json.dumps([event]).encode())[0] == 200
    (row,) = documents.query(Query("outbox"), OutboxRow)
    assert (row.topic, row.published) == ("deals-touched", False)


def test_a_portal_of_nobody_is_rejected_with_what_to_do(documents, servers):
    """Not retried; the next reconciliation finds the deal once the account says so."""
    deal = servers[2].create(dealstage="lead")
    answer = door_of(load("credit_deals").main).work(touched(deal))
    assert (answer.status, answer.outcome) == (200, "rejected")
    assert "hubspot_portal_id" in answer.reason


def test_without_a_token_the_work_is_kept_as_a_dead_letter(documents, monkeypatch):
    """Replayable, with the setting's name."""
    account(documents)
    monkeypatch.setenv("HUBSPOT_TOKEN", "not-configured")
    answer = door_of(load("credit_deals").main).work(touched("1"))
    assert (answer.status, answer.outcome) == (200, "dead")
    assert "hubspotToken" in answer.reason


def test_a_hubspot_that_is_down_or_limits_is_asked_again(documents, servers):
    """Refused now, done at the redelivery."""
    account(documents)
    crm = servers[2]
    deal = crm.create(dealstage="showup")
    crm.fault("GET /crm/*", code=429)
    door = door_of(load("credit_deals").main)
    assert door.work(touched(deal)).status == 503
    assert door.work(touched(deal)).outcome == "completed"
    assert documents.require(f"deals/{PORTAL}-{deal}", Deal).value == 9000_00


def test_a_won_deal_in_euros_is_credited_as_hubspot_converts_it(documents, servers, monkeypatch):
    """The ad gets dollars: the amount at the rate of the closing; the deal says how it came."""
    crm, ad = servers[2], an_ad(documents, "1290")
    account(documents)
    monkeypatch.setattr(crm.portal, "currencies", Currencies("USD", {"EUR": Decimal("1.10")}))
    euros = {"dealstage": "closedwon", "deal_currency_code": "EUR", "utm_content": ad}
    deal = crm.create(amount="1000", **euros)
    assert credit(deal).outcome == "completed"
    assert documents.require(f"ad_states/{ad}", AdState).pipeline_value == 1045_00  # 95 % sure
    kept = documents.require(f"deals/{PORTAL}-{deal}", Deal)
    assert (kept.value, kept.degraded) == (1100_00, ("deal-currency-converted:EUR",))
    crm.fault("GET /account-info/*", code=503)
    deals._opened.cache_clear()
    assert credit(crm.create(amount="1000", **euros), "down").status == 503


@pytest.mark.parametrize(
    ("company", "value", "degraded"),
    [("USD", 1000_00, ()), ("EUR", 15000_00, ("deal-currency:EUR", WITHOUT)), ("", 1000_00, ())],
)
def test_a_deal_that_names_no_currency_is_in_the_companys(
    documents, servers, monkeypatch, company, value, degraded
):
    """1,000 of a portal in euros are no 1,000 dollars; where nobody tells, it is the account's."""
    account(documents)
    monkeypatch.setattr(servers[2].portal, "currencies", Currencies(company))
    deal = servers[2].create(dealstage="closedwon", amount="1000")
    assert credit(deal).outcome == "completed"
    kept = documents.require(f"deals/{PORTAL}-{deal}", Deal)
    assert (kept.value, kept.degraded) == (value, degraded)


def test_a_deal_that_never_was_leaves_no_document(documents):
    """404 for a deal that nobody credited: nothing to take back."""
    account(documents)
    assert door_of(load("credit_deals").main).work(touched("424242")).outcome == "completed"
    assert documents.get(f"deals/{PORTAL}-424242", Deal) is None


def credit(deal_id, cause="test"):
    return door_of(load("credit_deals").main).work(touched(deal_id, cause))


@pytest.mark.parametrize("told_of", ["the new deal", "an old deal"])
def test_merged_deals_are_credited_once(documents, servers, told_of):
    """Two deals become a third: their credit goes back, and only the third counts from then on."""
    crm, ad = servers[2], f"12{len(told_of)}"
    account(documents)
    documents.set(
        f"ad_states/{ad}", AdState(id=ad, account_id="acc", currency="USD", updated_at=1.0)
    )
    both = [
        crm.create(dealstage="closedwon", amount=amount, utm_content=ad)
        for amount in ("1000", "700")
    ]
    for deal_id in both:
        assert credit(deal_id).outcome == "completed"
    assert documents.require(f"ad_states/{ad}", AdState).deals == 2
    made = crm.portal.merge(*both)["id"]
    assert credit(made if told_of == "the new deal" else both[1], "merge").outcome == "completed"
    state = documents.require(f"ad_states/{ad}", AdState)
    assert (state.pipeline_value, state.deals) == (950_00, 1)
    if told_of == "the new deal":
        assert documents.require(f"deals/{PORTAL}-{both[0]}", Deal).is_deleted
    began = documents.require(f"deals/{PORTAL}-{made}", Deal).began_at
    assert began <= documents.require(f"deals/{PORTAL}-{both[0]}", Deal).began_at + 1.0


def an_ad(documents, ad_id, account_id="acc"):
    state = AdState(id=ad_id, account_id=account_id, currency="USD", updated_at=1.0)
    documents.set(f"ad_states/{ad_id}", state)
    return ad_id


def together(*deal_ids, cause="batch"):
    return DealsTouched(portal_id=PORTAL, deal_ids=deal_ids, cause=cause)


def all_of(documents):
    """Deals, ads and totals as they stand, without the times of writing."""
    found = [
        *documents.query(Query("deals"), Deal),
        *documents.query(Query("ad_states"), AdState),
        *documents.query(Query("unattributed"), Unattributed),
    ]
    return [
        {k: v for k, v in dataclasses.asdict(one).items() if not k.endswith(("ed_at", "seen_at"))}
        for one in found
    ]


def a_portal_of(documents, crm, one):
    """Deals on two ads by click and by name, of nobody, lost, deleted, merged, and unheard of."""
    account(documents)
    ads = [an_ad(documents, f"{one}{number}") for number in range(2)]
    at = Clock().now() - 3600.0
    for number, ad_id in enumerate(ads):
        click = TrackedClick(
            id=f"c{number}", account_id="acc", ad_id=ad_id, at=at, fbclid=f"f{one}{number}"
        )
        documents.set(f"clicks/{click.id}", click)
    by_click = [crm.create(dealstage="showup", hs_facebook_click_id=f"f{one}{n}") for n in (0, 1)]
    named = [crm.create(dealstage="closedwon", amount="10", utm_content=ads[0]) for _ in range(3)]
    crm.move(named[2], "closedlost")
    nobody, deleted = (crm.create(dealstage="showup") for _ in range(2))
    merged = crm.portal.merge(*named[:2])["id"]
    crm.archive(deleted)
    return [*by_click, *named, nobody, deleted, merged, "424242"]


def test_deals_of_one_message_are_credited_as_they_are_one_by_one(documents, servers):
    """The same documents, whether a message names them all or each has its own."""
    door = door_of(load("credit_deals").main)
    deals = a_portal_of(documents, servers[2], "140")
    assert door.work(together(*deals)).outcome == "completed"
    at_once = all_of(documents)
    for kind in ("deals", "ad_states", "unattributed", "feedback_events"):
        for snapshot in documents.client.collection(kind).list_documents():
            snapshot.delete()
    for number in range(2):
        an_ad(documents, f"140{number}")
    for deal in deals:
        assert door.work(touched(deal)).outcome == "completed"
    assert at_once == all_of(documents)
    assert sum(one.get("pipeline_value", 0) for one in at_once) > 0


def test_the_deals_of_a_message_cost_hubspot_one_call(documents, servers):
    """Fifty deals that are all there: one batch, and none by itself."""
    account(documents)
    crm = servers[2]
    deals = [crm.create(dealstage="lead") for _ in range(50)]
    crm.fault("GET /crm/v3/objects/deals/*", code=500)
    answer = door_of(load("credit_deals").main).work(together(*deals))
    crm.faults.clear()
    assert answer.outcome == "completed"
    assert len(documents.query(Query("deals"), Deal)) == 50


def test_a_message_that_fails_twice_is_taken_apart(documents, servers):
    """Then each deal has a message of its own, and none keeps the others waiting."""
    account(documents)
    crm, door = servers[2], door_of(load("credit_deals").main)
    deals = [crm.create(dealstage="lead") for _ in range(3)]
    for _ in range(2):
        crm.fault("POST /crm/*", code=500)
        assert door.work(together(*deals)).status == 503
    assert door.work(together(*deals)).outcome == "completed"
    rows = documents.query(Query("outbox"), OutboxRow)
    assert sorted(tuple(json.loads(row.body)["deal_ids"]) for row in rows) == sorted(
        (deal,) for deal in deals
    )
    assert len({DealsTouched.decode(row.body.encode()).key for row in rows}) == 3


def test_batches_of_the_same_ads_at_once_lose_nothing(documents, servers):
    """Four messages of twelve deals each, on the same three ads, each in a thread of its own."""
    account(documents)
    crm, door = servers[2], door_of(load("credit_deals").main)
    ads = [an_ad(documents, f"15{number}") for number in range(3)]
    batches = [
        [crm.create(dealstage="closedwon", amount="100", utm_content=ad) for ad in ads * 4]
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda deals: door.work(together(*deals)), batches))
    assert {answer.outcome for answer in answers} == {"completed"}
    states = [documents.require(f"ad_states/{ad}", AdState) for ad in ads]
    assert [state.deals for state in states] == [16] * 3
    by_deal = documents.query(Query("deals"), Deal)
    assert sum(state.pipeline_value for state in states) == sum(one.credited for one in by_deal)


def test_deals_of_one_message_go_to_the_accounts_of_their_ads(documents, servers):
    """One portal, two ad accounts: each deal is counted to the account of the ad it names."""
    account(documents)
    account(documents, "other")
    crm = servers[2]
    ads = [an_ad(documents, "160"), an_ad(documents, "161", "other")]
    deals = [crm.create(dealstage="showup", utm_content=ad) for ad in ads]
    assert door_of(load("credit_deals").main).work(together(*deals)).outcome == "completed"
    kept = [documents.require(f"deals/{PORTAL}-{deal}", Deal) for deal in deals]
    assert [(deal.account_id, deal.ad_id) for deal in kept] == [("acc", "160"), ("other", "161")]


def test_a_poll_begins_where_the_last_one_ended(documents, servers):
    """The watermark moves; within the overlap a deal is told again under the same key."""
    account(documents)
    crm = servers[2]
    module = load("reconcile_deals")
    deal = crm.create(dealstage="lead")
    assert door_of(module.main).work(ReconciliationDue(tick="t1")).outcome == "completed"
    mark = documents.require(f"reconciliations/{PORTAL}", Reconciliation)
    assert mark.seen_until_at == mark.polled_at
    old = dataclasses.replace(mark, seen_until_at=mark.seen_until_at - 10)
    documents.set(f"reconciliations/{PORTAL}", old)
    door_of(module.main).work(ReconciliationDue(tick="t2"))
    rows = documents.query(Query("outbox"), OutboxRow)
    told = [json.loads(row.body) for row in rows]
    causes = [one["cause"] for one in told if deal in one["deal_ids"]]
    assert len(causes) == 2
    assert len(set(causes)) == 1


def test_a_poll_leaves_alone_what_was_read_since_it_changed(documents, servers):
    """The webhook told of two deals; one has changed again since: only that one is touched."""
    account(documents)
    crm, door = servers[2], door_of(load("reconcile_deals").main)
    told, lost = (crm.create(dealstage="lead") for _ in range(2))
    for deal_id in (told, lost):
        assert credit(deal_id).outcome == "completed"
    crm.move(lost, "showup")
    assert door.work(ReconciliationDue(tick="t")).outcome == "completed"
    rows = documents.query(Query("outbox"), OutboxRow)
    touched_now = {deal_id for row in rows for deal_id in json.loads(row.body)["deal_ids"]}
    assert lost in touched_now
    assert told not in touched_now


def test_a_poll_finds_deals_whose_deletion_nobody_told(documents, servers):
    """Searches leave deleted deals out: the poll walks through them, and touches what we count."""
    crm, ad = servers[2], "130"
    account(documents)
    documents.set(
        f"ad_states/{ad}", AdState(id=ad, account_id="acc", currency="USD", updated_at=1.0)
    )
    deal = crm.create(dealstage="closedwon", amount="1000", utm_content=ad)
    never_ours = crm.create(dealstage="lead")
    credit(deal)
    poll = door_of(load("reconcile_deals").main)
    for one in (deal, never_ours):
        crm.archive(one)
    assert poll.work(ReconciliationDue(tick="deleted-1")).outcome == "completed"
    touches = [row for row in documents.query(Query("outbox"), OutboxRow) if deal in row.body]
    assert [row.topic for row in touches] == ["deals-touched"]
    assert credit(deal, "poll").outcome == "completed"
    state = documents.require(f"ad_states/{ad}", AdState)
    assert (state.pipeline_value, state.deals) == (0, 0)
    poll.work(ReconciliationDue(tick="deleted-2"))
    again = [row for row in documents.query(Query("outbox"), OutboxRow) if deal in row.body]
    assert len(again) == 1


def test_two_portals_on_one_token_are_said(documents):
    """Guessing whose deals they are is not an option."""
    account(documents, "a", hubspot_portal_id=7)
    account(documents, "b", hubspot_portal_id=8)
    answer = door_of(load("reconcile_deals").main).work(ReconciliationDue(tick="t"))
    assert (answer.outcome, "one portal" in answer.reason) == ("dead", True)
