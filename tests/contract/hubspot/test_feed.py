"""Deals that come from elsewhere by themselves, as the clock goes on."""

from dataclasses import dataclass

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
