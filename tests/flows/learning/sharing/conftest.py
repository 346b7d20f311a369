"""Loop 6 through its own door over a real Firestore: a deployment of many accounts, and time."""

import json
import random
from types import SimpleNamespace

import flask
import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.events import SharingDue, cycle_id_of
from geminivideo.learning import sharing
from geminivideo.learning_records import (
    Actual,
    Contribution,
    CreativeFeatures,
    CycleStatus,
    LearningCycle,
    PrivacyLedger,
    SharedRelease,
    SharingConsent,
)
from geminivideo.policy import Policy, SharingPolicy
from geminivideo.records import Account
from geminivideo.runtime.step import door_of
from geminivideo.services import hearing, shared_patterns
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore

from ...worlds import StillClock, load, mark_of, serving, settle

DAY = 86400.0
START = 56 * DAY * 371 + 3 * DAY  # three days into a slot
LIFT = {"hook_type=question": 600, "first_frame=face": -600}


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("sharing"), firestore=Firestore) as made:
        yield made


class World:
    """One deployment: its accounts, what they say, its cycles, and its releases."""

    def __init__(self, project):
        self.documents = Documents(project)
        self.clock = StillClock(START)
        self._services = {}

    # Accounts ------------------------------------------------------------------------------------

    def account(self, account_id):
        record = Account(id=account_id, ad_account_id=f"act_{account_id}", page_id="1", link_url="")
        self.documents.set(f"accounts/{account_id}", record)
        return account_id

    def policy(self, **members):
        """The deployment's sharing policy."""
        self.documents.set("policies/_deployment", Policy(sharing=SharingPolicy(**members)))

    def opt(self, account_id, into=True):
        return shared_patterns.opt(
            self.documents, account_id, into=into, by="ann", now=self.clock.now()
        )

    def sharers(self, count, prefix="s"):
        """Accounts that take part and have said what their ads are like."""
        ids = [f"{prefix}{n:03d}" for n in range(count)]
        records = {}
        for number, one in enumerate(ids):
            records[f"accounts/{one}"] = Account(
                id=one, ad_account_id=f"act_{one}", page_id="1", link_url=""
            )
            records[hearing.consent_path(one)] = SharingConsent(
                id=one,
                opted_in=True,
                changed_at=self.clock.now(),
                by="ann",
                contribution=self.contribution(number),
            )
        self.documents.set_many(records.items())
        return ids

    def few(self, count=8, **members):
        """A deployment whose gate is open: as few as the least may be let out."""
        self.policy(delta=0.49, **members)
        return self.sharers(count)

    def contribution(self, number=0):
        noise = random.Random(number).randint(-100, 100)
        return Contribution(
            vocabulary=sharing.VOCABULARY,
            at=self.clock.now(),
            base=400,
            lifts={trait: units + noise for trait, units in LIFT.items()},
        )

    def renew(self, ids):
        """Every account's cycle of a later day has said it anew."""
        paths = [hearing.consent_path(one) for one in ids]
        self.documents.update_all(paths, {"contribution": self.contribution()})

    def ads(self, account_id, count=3):
        """Actuals of an account whose questions are clicked more than its stories."""
        for number in range(2 * count):
            question = number < count
            ad = Actual(
                id=f"{account_id}-{number}",
                ad_id=f"{account_id}-{number}",
                account_id=account_id,
                currency="USD",
                impressions=10_000,
                clicks=250 if question else 200,
                spend=5000,
                pipeline_value=0,
                cash_revenue=0,
                first_shown_at=self.clock.now() - 5 * DAY,
                until_at=self.clock.now(),
                linked_at=self.clock.now(),
                features=CreativeFeatures(hook_type="question" if question else "story"),
            )
            self.documents.set(f"actuals/{ad.id}", ad)

    # Cycles --------------------------------------------------------------------------------------

    def loop(self, account_id, tick="t"):
        """The account's cycle comes to loop 6; returns what it recorded."""
        cycle_id = cycle_id_of(account_id, f"{tick}-{self.clock.at}")
        self.documents.set(
            f"learning_cycles/{cycle_id}",
            LearningCycle(
                id=cycle_id,
                account_id=account_id,
                trigger="schedule",
                status=CycleStatus.RUNNING,
                started_at=self.clock.now(),
            ),
        )
        door = door_of(load("functions/learning/share_patterns/main.py").main)
        door.ports.clock = self.clock
        door.ports.send = lambda rows: None
        answer = door.work(SharingDue(flow_id=cycle_id, account_id=account_id))
        assert answer.status == 200, answer
        return self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle).steps["6"]

    def next_slot(self):
        self.clock.at += 56 * DAY

    # What is there -------------------------------------------------------------------------------

    def all(self, collection, kind):
        return self.documents.query(Query(collection), kind)

    def releases(self):
        return sorted(self.all("cross_account_patterns", SharedRelease), key=lambda one: one.id)

    def ledgers(self):
        return {one.id: one for one in self.all("privacy_ledger", PrivacyLedger)}

    def ledger(self, account_id):
        return self.documents.get(shared_patterns.ledger_path(account_id), PrivacyLedger)

    def consent(self, account_id):
        return self.documents.get(hearing.consent_path(account_id), SharingConsent)

    # Over HTTP -----------------------------------------------------------------------------------

    def service(self, name):
        if name not in self._services:
            api = load(f"functions/services/{name}/main.py").api
            api.ports.clock = self.clock
            self._services[name] = api
        return self._services[name]

    def call(self, service, method, path, body=None):
        builder = EnvironBuilder(path, method=method, json=body if method == "POST" else None)
        response = self.service(service)(flask.Request(builder.get_environ()))
        return SimpleNamespace(
            status=response.status_code, json=json.loads(response.get_data() or b"null")
        )


@pytest.fixture
def world(servers, monkeypatch, request):
    return World(settle(monkeypatch, servers, mark_of(request), GV_PROFILE="local"))
