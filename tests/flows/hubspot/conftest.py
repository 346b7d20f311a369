"""A whole local cloud with HubSpot's double in it: one whose webhooks are signed, one without."""

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request

import pytest
from geminivideo.records import Account, AdState, CrmEvent, Deal, FeedbackEvent

from emulators.cloud import LocalCloud
from emulators.profile import HUBSPOT_PATH, HUBSPOT_PORTAL
from emulators.running import Running
from emulators.watch import Watcher

LIMIT_S = 45.0


class Site:
    """One cloud, its documents, and its two doors for webhooks."""

    def __init__(self, cloud):
        self.cloud, self.hubspot = cloud, cloud.hubspot
        self.watcher = Watcher(Running.find(cloud.state_dir))
        self.documents = self.watcher.documents
        self.now = cloud.clock.now

    def add_account(self, account_id="acc", **members):
        account = Account(
            id=account_id, ad_account_id="act_1", page_id="1", link_url="https://example.com",
            **{"hubspot_portal_id": HUBSPOT_PORTAL, **members},
        )  # fmt: skip
        self.documents.set(f"accounts/{account_id}", account)

    def add_ad(self, ad_id, account_id="acc", spend=1000_00):
        state = AdState(
            id=ad_id, account_id=account_id, currency="USD", updated_at=self.now(),
            impressions=1000, clicks=50, spend=spend,
        )  # fmt: skip
        self.documents.set(f"ad_states/{ad_id}", state)

    def ad(self, ad_id):
        return self.documents.get(f"ad_states/{ad_id}", AdState)

    def deal(self, deal_id, portal=HUBSPOT_PORTAL):
        return self.documents.get(f"deals/{portal}-{deal_id}", Deal)

    def everything(self, kind, collection):
        from geminivideo.cloud.documents import Query

        return self.documents.query(Query(collection), kind)

    def events(self):
        return self.everything(CrmEvent, "hubspot_events")

    def credits(self, deal_id):
        found = self.everything(FeedbackEvent, "feedback_events")
        return sorted((e for e in found if e.deal_id == deal_id), key=lambda event: event.id)

    def url(self, function="hubspot-webhook"):
        return self.cloud.urls[function] + HUBSPOT_PATH

    def sign(self, body, at=None, url=None, secret=None):
        """v3 headers, as HubSpot would send them at ``at``."""
        stamp = str(int((self.now() if at is None else at) * 1000))
        source = f"POST{url or self.url()}".encode() + body + stamp.encode()
        key = secret or self.cloud.secrets["hubspot-secret"]
        mac = hmac.new(key.encode(), source, hashlib.sha256).digest()
        return {
            "X-HubSpot-Signature-v3": base64.b64encode(mac).decode(),
            "X-HubSpot-Request-Timestamp": stamp,
        }

    def post(self, body, headers=None, url=None):
        """Status and JSON of one call."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(url or self.url(), data=raw, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def alerts(self, function):
        """The security log's lines of a function."""
        log = self.cloud.host.log_of(function)
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if '"alert": "webhook-signature"' in line]

    def eventually(self, what):
        end = time.monotonic() + LIMIT_S
        while not (found := what()):
            assert time.monotonic() < end, "it never came to hold"
            time.sleep(0.1)
        return found

    def quiet(self):
        """Every webhook event is delivered, and every message that followed is worked off."""
        self.eventually(lambda: all(e.state != "waiting" for e in self.hubspot.portal.events()))
        time.sleep(0.3)


def event_of(deal_id, stage, at, **members):
    """One event of HubSpot's array."""
    return {
        "eventId": 1, "subscriptionId": 12, "portalId": HUBSPOT_PORTAL, "appId": 9,
        "occurredAt": int(at * 1000), "subscriptionType": "deal.propertyChange",
        "attemptNumber": 0, "objectId": int(deal_id), "changeSource": "CRM_UI",
        "propertyName": "dealstage", "propertyValue": stage, **members,
    }  # fmt: skip


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    with LocalCloud(tmp_path_factory.mktemp("signed"), 0, signed_webhooks=True) as cloud:
        site = Site(cloud)
        site.add_account()
        yield site


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory):
    with LocalCloud(tmp_path_factory.mktemp("unsigned"), 0) as cloud:
        site = Site(cloud)
        site.add_account("default", hubspot_portal_id=None)
        yield site


@pytest.fixture
def event():
    """Builds an event of the array."""
    return event_of
