"""The engine: which calls a script strikes, counted exactly, on any thread, over any restart."""

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.faults import Call, Faults, Kind, Quota, Rule
from emulators.faults.engine import draw
from emulators.faults.errors import (
    DuplicateIdError,
    EffectError,
    EndpointUnknownError,
    ServiceUnknownError,
    UnknownIdError,
)

PUBLISH = Call("pubsub", "Publisher/Publish")
DOWN = {"service": "pubsub", "code": "UNAVAILABLE"}


def called(caller="", resource="", endpoint="Publisher/Publish"):
    """A publish with names."""
    return Call("pubsub", endpoint, callers=lambda: (caller,), resources=lambda: (resource,))


def struck(faults, call, count):
    """Which of ``count`` calls are struck."""
    return [faults.take(call) is not None for _ in range(count)]


@given(skip=st.integers(0, 8), times=st.integers(1, 8), calls=st.integers(0, 24))
def test_so_many_pass_so_many_are_struck_the_rest_pass(clock_type, skip, times, calls):
    """After ``skip`` calls exactly ``times`` are struck, and none after them."""
    faults = Faults(clock_type())
    faults.add(Rule(**DOWN, skip=skip, times=times))
    expected = [skip <= number < skip + times for number in range(calls)]
    assert struck(faults, PUBLISH, calls) == expected
    (standing,) = faults.standings()
    assert standing.struck == sum(expected)
    assert standing.seen == min(calls, skip + times)
    assert standing.spent == (calls >= skip + times)


@given(
    rules=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=5),
    calls=st.integers(0, 30),
)
def test_the_first_rule_that_strikes_is_the_only_one(clock_type, rules, calls):
    """A call is struck by one rule at most: the first whose turn it is."""
    faults = Faults(clock_type())
    faults.add(*(Rule(**DOWN, id=str(i), skip=s, times=t) for i, (s, t) in enumerate(rules)))
    seen, hits = Counter(), Counter()
    for _ in range(calls):
        taken = faults.take(PUBLISH)
        wanted = None
        for index, (skip, times) in enumerate(rules):
            if hits[index] >= times:
                continue
            seen[index] += 1
            if seen[index] > skip:
                hits[index] += 1
                wanted = str(index)
                break
        assert (taken and taken.id) == wanted


@given(names=st.lists(st.sampled_from("abc"), max_size=30), times=st.integers(1, 3))
def test_counting_by_resource_gives_each_its_own_strikes(clock_type, names, times):
    """With ``count_by: resource`` each resource is struck ``times`` times."""
    faults = Faults(clock_type())
    faults.add(Rule(**DOWN, count_by="resource", times=times))
    hits = Counter(name for name in names if faults.take(called(resource=name)))
    assert hits == {name: min(times, names.count(name)) for name in set(names)}


@given(
    gaps=st.lists(st.floats(0, 30), max_size=40),
    calls=st.integers(0, 5),
    window=st.floats(0.5, 60),
)
def test_a_quota_never_admits_more_than_it_says(clock_type, gaps, calls, window):
    """In no window are more than ``calls`` admitted, and none is refused that had room."""
    clock = clock_type()
    faults = Faults(clock)
    faults.add(Rule(service="storage", quota=Quota(calls=calls, window_s=window)))
    admitted = []
    for gap in gaps:
        clock.advance(gap)
        recent = [at for at in admitted if at > clock.now() - window]
        refused = faults.take(Call("storage", "GET /o")) is not None
        assert refused == (len(recent) >= calls)
        if not refused:
            admitted.append(clock.now())


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 0.99))
@settings(max_examples=20)
def test_chance_is_the_same_every_time(clock_type, seed, share):
    """The same seed strikes the same calls; another order of asking changes nothing."""
    runs = []
    for _ in range(2):
        faults = Faults(clock_type())
        faults.add(Rule(**DOWN, probability=share, seed=seed, times="forever"))
        runs.append(struck(faults, PUBLISH, 100))
    assert runs[0] == runs[1]
    assert runs[0] == [draw(seed, "", n) < share for n in range(1, 101)]


def test_chance_is_about_its_share():
    """Draws spread over [0, 1): a tenth of ten thousand is a tenth, give or take."""
    hits = sum(draw(7, "", n) < 0.1 for n in range(10_000))
    assert 900 < hits < 1_100


@given(
    before=st.integers(0, 12),
    after=st.integers(0, 12),
    skip=st.integers(0, 4),
    times=st.integers(1, 6),
)
@settings(max_examples=25, deadline=None)
def test_a_restart_goes_on_where_the_script_was(
    clock_type, tmp_path_factory, before, after, skip, times
):
    """Rules and counts are kept: struck before plus struck after is struck without a restart."""
    folder = tmp_path_factory.mktemp("faults")
    clock = clock_type()
    first = Faults(clock, folder)
    first.add(Rule(**DOWN, skip=skip, times=times, until="+60"))
    hits = struck(first, PUBLISH, before)
    first.close()
    second = Faults(clock, folder)
    hits += struck(second, PUBLISH, after)
    (standing,) = second.standings()
    second.close()
    assert hits == [skip <= n < skip + times for n in range(before + after)]
    assert standing.struck == sum(hits)
    assert standing.rule.until == clock.now() + 60


def test_many_threads_get_exactly_the_strikes_there_are(faults):
    """With eight threads asking at once no strike is given twice or lost."""
    faults.add(Rule(**DOWN, skip=10, times=100))
    hits = []

    def ask():
        hits.extend(struck(faults, PUBLISH, 100))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(hits) == 100


def test_nothing_is_active_without_a_live_rule(faults):
    """``active`` is all that a hook reads: false at first, when all is spent, and once cleared."""
    assert not faults.active
    faults.add(Rule(**DOWN))
    assert faults.active
    faults.take(PUBLISH)
    assert not faults.active
    faults.add(Rule(**DOWN))
    faults.clear()
    assert not faults.active


def test_a_disarmed_script_waits(clock, tmp_path):
    """A script that was kept strikes nothing before the cloud is provisioned."""
    faults = Faults(clock, tmp_path, armed=False)
    faults.add(Rule(**DOWN))
    assert faults.take(PUBLISH) is None
    faults.arm()
    assert faults.take(PUBLISH)


def test_a_window_opens_and_closes_on_the_clock(faults, clock):
    """From ``since`` on, until just before ``until``, in seconds after the rule was added."""
    faults.add(Rule(**DOWN, since="+10", until="+20", times="forever"))
    hits = []
    for _ in range(25):
        hits.append(faults.take(PUBLISH) is not None)
        clock.advance(1)
    assert hits == [10 <= n < 20 for n in range(25)]
    assert faults.standings()[0].spent


def test_globs_choose_endpoint_caller_and_resource(faults):
    """All three must match; any of the names that a caller goes by will do."""
    faults.add(
        Rule(**DOWN, endpoint="Publisher/*", caller="detect-*", resource="video-*", times="forever")
    )
    assert faults.take(called("detect-scenes", "video-uploads"))
    assert not faults.take(called("rank-scenes", "video-uploads"))
    assert not faults.take(called("detect-scenes", "sweep-due"))
    assert not faults.take(called("detect-scenes", "video-uploads", "Subscriber/Pull"))
    both = Call("pubsub", "Publisher/Publish", callers=lambda: ("x", "detect-it"))
    assert not faults.take(both), "a rule with a resource glob strikes nothing without a resource"


def test_callers_are_only_looked_up_when_a_rule_names_them(faults):
    """Finding a process costs: a rule for all callers, or another endpoint, does not ask."""

    def asked():
        raise AssertionError("looked up")

    faults.add(Rule(**DOWN, endpoint="Subscriber/*", caller="x"), Rule(**DOWN, times=2))
    assert faults.take(Call("pubsub", "Publisher/Publish", callers=asked))


def test_a_host_rule_is_for_one_function_or_all(faults):
    """``host`` strikes every function, ``host/NAME`` those that the glob names."""
    faults.add(Rule(service="host/detect-*", code=503), Rule(service="host", code=500))
    assert faults.take(Call("host/detect-scenes", "POST /")).code == 503
    assert faults.take(Call("host/rank-scenes", "POST /")).code == 500
    assert faults.take(Call("host/rank-scenes", "POST /")) is None


def test_calls_messages_and_deliveries_are_struck_by_their_own_rules(faults):
    """A stalled stream, an error on a call and a lost push do not take one another's strikes."""
    faults.add(
        Rule(service="pubsub", endpoint="*", stall_s=5),
        Rule(service="pubsub", endpoint="*", code="INTERNAL"),
        Rule(service="pubsub", endpoint="push *", drop="after"),
    )
    assert faults.take(Call("pubsub", "push sub", Kind.DELIVERY)).drop == "after"
    assert faults.take(Call("pubsub", "Subscriber/StreamingPull")).code == "INTERNAL"
    assert faults.take(Call("pubsub", "Subscriber/StreamingPull", Kind.MESSAGE)).stall_s == 5


def test_a_script_is_added_whole_or_not_at_all(faults):
    """When one rule is refused none is added, and the error says which."""
    faults.add(Rule(**DOWN, id="one"))
    with pytest.raises(DuplicateIdError, match="another id") as caught:
        faults.add(Rule(**DOWN, id="two"), Rule(**DOWN, id="one"))
    assert caught.value.index == 1
    assert [standing.rule.id for standing in faults.standings()] == ["one"]


def test_clearing_one_leaves_the_others(faults):
    """A rule is cleared by its id; an unknown id is told with those that there are."""
    faults.add(Rule(**DOWN, id="one"), Rule(**DOWN, id="two"))
    assert faults.clear("one") == 1
    with pytest.raises(UnknownIdError, match="two"):
        faults.clear("one")
    assert faults.clear() == 1


def test_endpoints_that_no_service_has_are_refused(faults):
    """A misspelt method or function would never strike: it is refused with what there is."""
    faults.knows("pubsub", {"Publisher/Publish": False, "Subscriber/StreamingPull": True})
    faults.knows("host/detect-scenes", {})
    with pytest.raises(EndpointUnknownError, match="did you mean Publisher/Publish"):
        faults.add(Rule(**DOWN, endpoint="Publisher/Publisch"))
    with pytest.raises(EffectError, match="needs a stream"):
        faults.add(Rule(service="pubsub", endpoint="Publisher/*", stall_s=1))
    with pytest.raises(ServiceUnknownError, match="host/detect-scenes"):
        faults.add(Rule(service="host/detect-scene", code=503))
    assert faults.add(Rule(service="host/detect-*", code=503))[0].id == "detect-1"
