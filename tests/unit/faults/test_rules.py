"""Rules: what makes sense is taken, what does not is refused by member and told what to do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.faults import FaultError, Rule, rule_of
from emulators.faults.rules import MESSAGES, REST, RPC, plain

SENSIBLE = [
    {"service": "pubsub", "endpoint": "Publisher/Publish", "code": "UNAVAILABLE"},
    {"service": "firestore", "endpoint": "Firestore/Commit", "drop": "after"},
    {"service": "pubsub", "endpoint": "Subscriber/StreamingPull", "stall_s": 30},
    {"service": "pubsub", "endpoint": "push sub", "duplicate": 2, "drop": "after"},
    {"service": "tasks", "endpoint": "dispatch q/*", "code": 503, "retry_after_s": 9},
    {"service": "scheduler", "endpoint": "execute *", "delay_s": 3},
    {"service": "pubsub", "endpoint": "push *", "reorder": {"window_s": 5}},
    {"service": "storage", "endpoint": "POST /upload/*", "code": 503, "times": "forever"},
    {"service": "storage", "quota": {"calls": 5, "window_s": 60}, "retry_after_s": 10},
    {"service": "meta", "endpoint": "POST act_*/ads", "code": 17, "subcode": 2446079},
    {"service": "host/detect-scenes", "kill": "before", "delay_s": 2},
    {"service": "host", "endpoint": "POST *", "kill": "after", "drop": "after"},
    {"service": "run", "code": 500, "since": "2030-01-01T00:00:00Z", "until": 2e9},
    {"service": "vertex", "code": 429, "message": "too many"},
]

SENSELESS = [
    ({"service": "pubsub"}, "", "nothing would happen"),
    ({"service": "pubsubb", "code": "ABORTED"}, "service", "did you mean pubsub"),
    ({"service": "pubsub", "codee": "ABORTED"}, "codee", "did you mean code"),
    ({"service": "pubsub", "code": 503}, "code", "UNAVAILABLE"),
    ({"service": "pubsub", "code": "UNAVAILABEL"}, "code", "UNAVAILABLE"),
    ({"service": "pubsub", "endpoint": "push *", "code": "ABORTED"}, "code", "HTTP status"),
    ({"service": "pubsub", "endpoint": "dispatch *", "code": 503}, "endpoint", "push NAME"),
    ({"service": "pubsub", "duplicate": 2}, "duplicate", "push"),
    ({"service": "firestore", "duplicate": 2}, "duplicate", "deliveries of|those of"),
    ({"service": "tasks", "endpoint": "dispatch *", "duplicate": 1}, "duplicate", "2 or more"),
    ({"service": "pubsub", "endpoint": "push *", "stall_s": 1}, "stall_s", "delay_s"),
    ({"service": "storage", "stall_s": 1}, "stall_s", "delay_s"),
    ({"service": "storage", "kill": "before"}, "kill", "host/FUNCTION"),
    ({"service": "storage", "endpoint": "/o/*", "code": 503}, "endpoint", "METHOD path"),
    ({"service": "storage", "code": 200}, "code", "400 to 599"),
    ({"service": "storage", "code": 503, "subcode": 1}, "service", "Meta"),
    ({"service": "meta", "code": "UNAVAILABLE"}, "code", "number"),
    ({"service": "storage", "code": 503, "drop": "after"}, "", "two rules"),
    ({"service": "storage", "delay_s": 1, "retry_after_s": 3}, "retry_after_s", "a code"),
    ({"service": "pubsub", "code": "ABORTED", "times": 0}, "times", "forever"),
    ({"service": "pubsub", "code": "ABORTED", "times": "ever"}, "times", "Invalid"),
    ({"service": "pubsub", "code": "ABORTED", "skip": -1}, "skip", "below 0"),
    ({"service": "pubsub", "code": "ABORTED", "probability": 0}, "probability", "above 0"),
    ({"service": "pubsub", "code": "ABORTED", "since": "noon"}, "since", "RFC 3339"),
    ({"service": "pubsub", "code": "ABORTED", "until": "2030-01-01T00:00:00"}, "until", "zone"),
    ({"service": "storage", "quota": {"calls": 5}}, "quota", "window_s"),
    ({"service": "pubsub", "endpoint": "push *", "reorder": {"window_s": 0}}, "reorder", "above 0"),
    (
        {"service": "pubsub", "endpoint": "push *", "quota": {"calls": 1, "window_s": 1}},
        "quota",
        "not for deliveries",
    ),
    ({"code": 503}, "", "service"),
]


@pytest.mark.parametrize("members", SENSIBLE, ids=lambda m: f"{m['service']} {[*m][-1]}")
def test_what_makes_sense_is_taken(members):
    """Each effect is taken on the endpoints that can have it."""
    rule = rule_of(members)
    assert plain(rule).items() >= {k: v for k, v in members.items() if v != "*"}.items()


@pytest.mark.parametrize(("members", "member", "told"), SENSELESS, ids=lambda v: str(v)[:60])
def test_what_makes_no_sense_is_refused(members, member, told):
    """The error names the member and says what to write instead."""
    with pytest.raises(FaultError, match=told) as caught:
        rule_of(members)
    assert caught.value.member.partition(".")[0] == member


@given(
    st.fixed_dictionaries(
        {"service": st.sampled_from([*RPC, *REST, "meta", "host", "nonsense"])},
        optional={
            "endpoint": st.sampled_from(["*", "push *", "dispatch *", "GET *", "A/B"]),
            "code": st.sampled_from([503, 17, 200, *MESSAGES]),
            "drop": st.sampled_from(["before", "after", "never"]),
            "kill": st.sampled_from(["before", "after"]),
            "delay_s": st.floats(-1, 9),
            "stall_s": st.integers(0, 9),
            "duplicate": st.integers(0, 3),
            "times": st.sampled_from([0, 1, "forever", None]),
            "quota": st.just({"calls": 1, "window_s": 2.0}),
            "reorder": st.just({"window_s": 2.0}),
            "since": st.sampled_from(["+5", "x", 3.0]),
        },
    )
)
def test_any_members_are_a_rule_or_a_named_error(members):
    """Whatever is written is taken whole or refused as a FaultError; what is taken reads back."""
    try:
        rule = rule_of(members)
    except FaultError:
        return
    assert rule_of(plain(rule)) == rule
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule
    assert rule.settled(0.0).settled(99.0) == rule.settled(0.0)
