"""Deals of the double through hubspot-api-client, unmodified."""

import pytest
from hubspot.crm.deals import (
    ApiException,
    BatchReadInputSimplePublicObjectId,
    SimplePublicObjectId,
    SimplePublicObjectInput,
)

from emulators.hubspot import Rates


def changed(**properties):
    return SimplePublicObjectInput(properties=properties)


def search(crm, since_ms, limit=100, after=None, operator="GTE"):
    window = {"propertyName": "hs_lastmodifieddate", "operator": operator, "value": str(since_ms)}
    return crm.search_api.do_search(
        public_object_search_request={
            "filterGroups": [{"filters": [window]}],
            "sorts": [{"propertyName": "hs_lastmodifieddate", "direction": "ASCENDING"}],
            "limit": limit,
            **({"after": after} if after else {}),
        }
    )


def test_a_deal_is_read_with_the_history_of_its_stage(start, crm, clock):
    """CRM API, "propertiesWithHistory": every value with its time, the newest first."""
    server = start()
    deal = server.create(dealstage="appointmentscheduled", amount="100")
    begun = clock.now()
    clock.advance(60.0)
    crm(server).basic_api.update(deal, changed(dealstage="contractsent"))
    found = crm(server).basic_api.get_by_id(deal, properties_with_history=["dealstage"])
    versions = found.properties_with_history["dealstage"]
    assert [v.value for v in versions] == ["contractsent", "appointmentscheduled"]
    times = [v.timestamp.timestamp() for v in versions]
    assert times == pytest.approx([begun + 60.0, begun], abs=0.002)
    assert found.properties["amount"] == "100"


def test_an_unknown_token_is_401_and_a_deleted_deal_404(start, crm):
    """CRM API errors: INVALID_AUTHENTICATION, OBJECT_NOT_FOUND."""
    server = start()
    deal = server.create(dealstage="contractsent")
    with pytest.raises(ApiException) as refused:
        crm(server, "other").basic_api.get_by_id(deal)
    assert refused.value.status == 401
    crm(server).basic_api.archive(deal)
    with pytest.raises(ApiException) as gone:
        crm(server).basic_api.get_by_id(deal)
    assert gone.value.status == 404
    server.restore(deal)
    assert crm(server).basic_api.get_by_id(deal).id == deal


def read_batch(crm, deal_ids, **asked):
    inputs = [SimplePublicObjectId(id=deal_id) for deal_id in deal_ids]
    return crm.batch_api.read(BatchReadInputSimplePublicObjectId(inputs=inputs, **asked))


def test_a_batch_is_read_with_histories_and_says_who_is_missing(start, crm, clock):
    """CRM API, batch read: those that are there, and a 207 with the ids of the others."""
    server = start()
    kept, moved, gone = (server.create(dealstage="lead", amount=str(n)) for n in range(3))
    clock.advance(60.0)
    server.move(moved, "showup")
    whole = read_batch(crm(server), [moved, kept], properties_with_history=["dealstage"])
    assert [one.id for one in whole.results] == [moved, kept]
    versions = whole.results[0].properties_with_history["dealstage"]
    assert [version.value for version in versions] == ["showup", "lead"]
    server.archive(gone)
    some = read_batch(crm(server), [gone, kept, "424242"], properties=["amount"])
    assert [(one.id, one.properties["amount"]) for one in some.results] == [(kept, "0")]
    assert sorted(some.errors[0].context["ids"]) == sorted([gone, "424242"])


@pytest.mark.parametrize(("most", "histories"), [(100, []), (50, ["dealstage"])])
def test_a_batch_has_a_limit_which_histories_halve(start, crm, most, histories):
    """More inputs than that are a 400."""
    server = start()
    deals = [str(number) for number in range(most)]
    read_batch(crm(server), deals, properties_with_history=histories)
    with pytest.raises(ApiException) as refused:
        read_batch(crm(server), [*deals, "x"], properties_with_history=histories)
    assert refused.value.status == 400


def test_a_search_pages_through_what_changed_since(start, crm, clock):
    """CRM search: filters, sorts, ``paging.next.after``; archived deals are left out."""
    server = start(rates=Rates(searches=100))
    deals = []
    for _ in range(5):
        clock.advance(10.0)
        deals.append(server.create(dealstage="contractsent"))
    since = round((clock.now() - 30.5) * 1000)
    server.archive(deals[2])
    first = search(crm(server), since, limit=2)
    rest = search(crm(server), since, limit=2, after=first.paging.next.after)
    assert first.total == 3
    assert [r.id for r in (*first.results, *rest.results)] == [deals[1], deals[3], deals[4]]
    assert rest.paging is None


def test_a_search_goes_no_further_than_ten_thousand(start, crm):
    """CRM search: paging beyond 10,000 results is a 400."""
    with pytest.raises(ApiException) as refused:
        search(crm(start()), 0, limit=100, after="9999")
    assert refused.value.status == 400


def test_too_many_calls_are_429_until_the_window_has_passed(start, crm, clock):
    """API usage guidelines: ten-secondly limit of an app, secondly limit of searches."""
    server = start(rates=Rates(calls=3, searches=1))
    search(crm(server), 0)
    with pytest.raises(ApiException) as searched:
        search(crm(server), 0)
    crm(server).basic_api.get_page()
    with pytest.raises(ApiException) as called:
        crm(server).basic_api.get_page()
    assert (searched.value.status, called.value.status) == (429, 429)
    assert "TEN_SECONDLY_ROLLING" in called.value.body
    clock.advance(10.1)
    search(crm(server), 0)


def test_what_it_does_not_do_is_501_by_name(start, crm):
    """Other objects than deals are named, not guessed."""
    from hubspot import HubSpot

    server = start()
    with pytest.raises(Exception, match="GET /crm/v3/objects/contacts") as refused:
        HubSpot(access_token="pat", host=server.url).crm.contacts.basic_api.get_page()
    assert refused.value.status == 501


def test_deals_and_unsent_events_outlive_a_restart(start, crm, target):
    """The same folder: the same deals, and what was not told yet is told."""
    first = start()
    deal = first.create(dealstage="contractsent")
    first.stop()
    second = start(target_url=target.url)
    assert crm(second).basic_api.get_by_id(deal).properties["dealstage"] == "contractsent"
    assert target.wait(1)[0].events[0]["objectId"] == int(deal)
