"""Pages of the pending changes: nothing twice, nothing left out, whatever is written meanwhile."""

from base64 import urlsafe_b64encode
from itertools import combinations
from urllib.parse import urlencode

import pytest
from geminivideo.records import ChangeStatus, ChangeType, PendingChange

PATH = "/api/pending-ad-changes"


def change(number, created_at, **members):
    given = {
        "change_type": ChangeType.BUDGET_INCREASE, "status": ChangeStatus.PENDING,
        "account_id": "acme", "campaign_id": "ca-1", "ad_id": "1202", "flow_id": "bf-1",
        "payload": {"new_budget": 6000}, "requested_by": "budget", "reasoning": "it earns",
        "created_at": created_at, "not_before_at": created_at, "jitter_s": 4.0,
    }  # fmt: skip
    return PendingChange(id=f"ch-{number:03d}", **(given | members))


def put(world, *changes):
    world.documents.set_all({f"pending_ad_changes/{one.id}": one for one in changes})


def page(world, **query):
    answer = world.get("gateway", f"{PATH}?{urlencode(query)}")
    assert answer.status == 200, answer.json
    return [one["id"] for one in answer.json["changes"]], answer.json["next_cursor"]


def walk(world, between=lambda: None, **query):
    """The ids of each page, with something happening between two."""
    found, cursor = page(world, **query)
    pages = [found]
    while cursor is not None:
        between()
        found, cursor = page(world, cursor=cursor, **query)
        pages.append(found)
    return pages


def test_pages_follow_the_time_and_then_the_id(world):
    """Changes of one moment, as a cycle writes them, are divided by their ids; none is repeated."""
    moments = [5.0, 1.5, *[3.1] * 5, 0.1 + 0.2]
    made = [change(number, at) for number, at in enumerate(moments)]
    put(world, *made)
    expected = [one.id for one in sorted(made, key=lambda one: (one.created_at, one.id))]
    for size in (1, 3, 7, 8):
        pages = walk(world, limit=size)
        assert [one for found in pages for one in found] == expected
        assert all(len(found) == size for found in pages[:-1])
    assert page(world) == (expected, None)


def test_what_is_written_meanwhile_neither_repeats_nor_hides_another(world):
    """New changes come at the end, before the cursor they are not seen; deleted ones leave a gap
    and changed ones leave the filter, and all others are found exactly once."""
    put(world, *(change(number, 10.0 + number) for number in range(6)))

    def meanwhile():
        put(world, change(90, 9.0), change(91, 99.0))
        world.documents.delete("pending_ad_changes/ch-001")  # the cursor's own
        world.documents.update("pending_ad_changes/ch-005", {"status": "CANCELLED"})

    pages = walk(world, meanwhile, limit=2, status="PENDING")
    assert pages == [["ch-000", "ch-001"], ["ch-002", "ch-003"], ["ch-004", "ch-091"]]


FILTERS = {
    "status": "PENDING", "account_id": "acme", "campaign_id": "ca-1",
    "change_type": "BUDGET_INCREASE", "ad_id": "1202", "flow_id": "bf-1",
}  # fmt: skip
OTHERS = {
    "status": ChangeStatus.FAILED, "account_id": "other", "campaign_id": "ca-2",
    "change_type": ChangeType.STATUS_CHANGE, "ad_id": "1203", "flow_id": "bf-2",
}  # fmt: skip


def test_every_set_of_filters_is_served_by_the_declared_indexes(world):
    """Each filter alone, each two and all six: exactly what fits, page by page, and never a
    refusal for want of an index."""
    fits = [change(number, float(number)) for number in (0, 1, 2)]
    other = [change(10 + n, 0.5, **{name: to}) for n, (name, to) in enumerate(OTHERS.items())]
    put(world, *fits, *other)
    sets = [*combinations(FILTERS, 1), *combinations(FILTERS, 2), tuple(FILTERS)]
    for names in sets:
        left = [one.id for one, name in zip(other, OTHERS, strict=True) if name not in names]
        pages = walk(world, limit=4, **{name: FILTERS[name] for name in names})
        assert [i for found in pages for i in found] == ["ch-000", *left, "ch-001", "ch-002"]


def encoded(text):
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"cursor": "?"}, {"cursor": "ä"},
        {"cursor": encoded("[1.0]")}, {"cursor": encoded('["1","ch-1"]')},
        {"cursor": encoded('[1.0,"a/b"]')}, {"cursor": encoded('[1.0,""]')},
        {"cursor": encoded('[1.0,"__x__"]')}, {"cursor": encoded('[1.0,"."]')},
        {"cursor": encoded('[1.0,"%s"]' % ("x" * 2000))}, {"cursor": encoded('[1e999,"ch-1"]')},
        {"change_type": "BUDGET"},
    ],
)  # fmt: skip
def test_a_cursor_or_limit_that_is_none_is_named(world, query):
    """A 422 that names the member, never a first page and never a 500."""
    answer = world.get("gateway", f"{PATH}?{urlencode(query)}")
    assert answer.status == 422
    assert next(iter(query)) in answer.json["error"]


def test_an_empty_cursor_is_the_beginning(world):
    """What a script sends that has no cursor yet."""
    put(world, change(1, 1.0))
    assert page(world, cursor="") == (["ch-001"], None)
