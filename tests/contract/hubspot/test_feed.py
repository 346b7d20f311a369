"""Deals that come from elsewhere by themselves, as the clock goes on."""

from dataclasses import dataclass
from queue import SimpleQueue

from emulators.market.deals import DealEvent


@dataclass
class Feed:
    """A few steps of one deal, and what was asked for."""

    steps: list

    def deal_events(self, since, until):
        return [step for step in self.steps if since < step.at <= until]


def step(at, stage, created=False, **more):
    properties = {"dealstage": stage, "pipeline": "default", "utm_content": "ad-1", **more}
    return DealEvent(at=at, deal_id="90000000000001", created=created, properties=properties)


def test_steps_appear_when_their_time_has_come(start, target, crm, clock, eventually):
    """Created, then changed, each at its own time, each told of; a restart repeats none."""
    begun = clock.now()
    feed = Feed(
        [
            step(begun + 100, "appointmentscheduled", created=True),
            step(begun + 5000, "closedwon", amount="12.00"),
        ]
    )
    server = start(target_url=target.url)
    server.feed(feed)
    clock.advance(200.0)
    server.clock_moved()
    assert target.wait(1)[0].events[0]["occurredAt"] == int((begun + 100) * 1000)
    clock.advance(6000.0)
    server.clock_moved()
    eventually(lambda: sum(len(call.events) for call in target.calls) == 3)
    server.stop()
    again = start(target_url=target.url)
    again.feed(feed)
    found = crm(again).basic_api.get_by_id("90000000000001", properties_with_history=["dealstage"])
    versions = [v.value for v in found.properties_with_history["dealstage"]]
    assert versions == ["closedwon", "appointmentscheduled"]
    assert len(again.portal.events()) == 3


def test_who_waits_for_rest_is_told_when_nothing_is_under_way_any_more(start, target, clock):
    """After a move of the clock there is a ring by which the feed has been taken and its webhook
    is delivered."""
    server = start(target_url=target.url)
    server.feed(Feed([step(clock.now() + 100, "appointmentscheduled", created=True)]))
    at_each_ring = SimpleQueue()
    server.call_on_ended(lambda: at_each_ring.put((server.under_way, len(target.calls))))
    clock.advance(200.0)
    server.clock_moved()
    while at_each_ring.get(timeout=10) != (0, 1):
        pass
