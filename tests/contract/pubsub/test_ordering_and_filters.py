"""Ordering keys ("Order messages") and filters ("Filter messages from a subscription")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.pubsub.filter import FilterError, compile_filter


def data(received):
    return [r.message.data for r in received]


def test_a_key_is_delivered_in_publish_order(cloud):
    """Ordering: messages of one key arrive in the order they were published in."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, enable_message_ordering=True)
    for i in range(5):
        cloud.publish(topic, b"%d" % i, key="k")
    got = []
    while received := cloud.pull(subscription, now=True):
        got += data(received)
        cloud.ack(subscription, *received)
    assert got == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.google_differs("hands out several messages of a key at once")
def test_the_next_of_a_key_waits_for_the_acknowledgement(cloud):
    """Ordering: here a key has one outstanding message at a time."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, enable_message_ordering=True)
    cloud.publish(topic, b"1", key="k")
    cloud.publish(topic, b"2", key="k")
    first = cloud.pull(subscription, now=True)
    assert data(first) == [b"1"]
    assert cloud.pull(subscription, now=True) == []
    cloud.ack(subscription, *first)
    assert data(cloud.pull(subscription, now=True)) == [b"2"]


@pytest.mark.google_differs("hands out several messages of a key at once")
def test_a_refused_message_comes_again_before_those_after_it(cloud):
    """Ordering: redelivery of a message redelivers the later ones of its key after it."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, enable_message_ordering=True)
    for body in (b"1", b"2"):
        cloud.publish(topic, body, key="k")
    cloud.nack(subscription, *cloud.pull(subscription, now=True))
    again = cloud.pull(subscription, now=True)
    assert data(again) == [b"1"]
    cloud.ack(subscription, *again)
    assert data(cloud.pull(subscription, now=True)) == [b"2"]


@pytest.mark.google_differs("hands out several messages of a key at once")
def test_keys_do_not_wait_for_each_other(cloud):
    """Ordering: different keys are independent, and no key means no order."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, enable_message_ordering=True)
    for key in ("a", "b", "", ""):
        cloud.publish(topic, key.encode() or b"-", key=key)
        cloud.publish(topic, key.encode() or b"-", key=key)
    assert sorted(data(cloud.pull(subscription, now=True))) == [b"-"] * 4 + [b"a", b"b"]


def test_without_ordering_keys_hold_nothing_back(cloud):
    """Ordering: a subscription without it may deliver a key's messages together."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"1", key="k")
    cloud.publish(topic, b"2", key="k")
    received = cloud.pull(subscription, now=True)
    assert [r.message.ordering_key for r in received] == ["k", "k"]


@pytest.mark.ours_only("Google's forwards only after its own pause, in real time")
def test_a_dead_letter_frees_its_key(cloud):
    """Ordering: a message that was given up no longer holds the later ones back."""
    topic = cloud.topic()
    policy = {"dead_letter_topic": cloud.topic("dead")}
    subscription = cloud.subscription(
        topic, enable_message_ordering=True, dead_letter_policy=policy
    )
    cloud.publish(topic, b"poison", key="k")
    cloud.publish(topic, b"next", key="k")
    for _ in range(5):
        cloud.nack(subscription, *cloud.pull(subscription, now=True))
    assert data(cloud.pull(subscription, now=True)) == [b"next"]


def test_a_key_is_pushed_in_order_past_a_refusal(cloud, endpoint):
    """Ordering with push: one outstanding message per key, the refused one first again."""
    topic = cloud.topic()
    cloud.subscription(
        topic, enable_message_ordering=True, push_config={"push_endpoint": endpoint.url}
    )
    endpoint.script = [200, 500]
    messages = [{"data": b"%d" % i, "ordering_key": "k"} for i in range(3)]
    ids = cloud.publisher.publish(topic=topic, messages=messages).message_ids
    seen = [s.message["messageId"] for s in endpoint.take(2)]
    cloud.advance(1)
    seen += [s.message["messageId"] for s in endpoint.take(2)]
    assert seen == [ids[0], ids[1], ids[1], ids[2]]


@pytest.mark.google_differs("filters are accepted and ignored")
def test_only_matching_messages_are_delivered(cloud):
    """Filtering: a subscription delivers what matches; the rest is acknowledged for it."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, filter='attributes.kind = "wanted"')
    everything = cloud.subscription(topic, "all")
    cloud.publish(topic, b"1", kind="wanted")
    cloud.publish(topic, b"2", kind="other")
    assert data(cloud.pull(subscription, now=True)) == [b"1"]
    assert len(cloud.pull(everything, now=True)) == 2


@pytest.mark.parametrize(
    ("text", "attributes", "matches"),
    [
        ("attributes:domain", {"domain": ""}, True),
        ("attributes:domain", {"other": "x"}, False),
        ('attributes.domain = "com"', {"domain": "com"}, True),
        ('attributes.domain = "com"', {"domain": "Com"}, False),
        ('attributes.domain != "com"', {}, True),
        ('attributes.domain != "com"', {"domain": "com"}, False),
        ('hasPrefix(attributes.domain, "co")', {"domain": "com"}, True),
        ('hasPrefix(attributes.domain, "co")', {}, False),
        ("NOT attributes:domain", {}, True),
        ("-attributes:domain", {"domain": "x"}, False),
        ('attributes:a AND attributes.b = "2"', {"a": "", "b": "2"}, True),
        ('attributes:a AND attributes.b = "2"', {"a": ""}, False),
        ("attributes:a OR attributes:b", {"b": ""}, True),
        ("attributes:a AND (attributes:b OR attributes:c)", {"a": "", "c": ""}, True),
        ("NOT (attributes:a OR attributes:b)", {"b": ""}, False),
        ('attributes."my key" = "v"', {"my key": "v"}, True),
        (r'attributes.a = "q\"q"', {"a": 'q"q'}, True),
        (r'attributes.a = "\x41"', {"a": "A"}, True),
        ("", {}, True),
    ],
)
def test_the_filter_language(text, attributes, matches):
    """Filtering: ``:``, ``=``, ``!=``, hasPrefix, NOT, ``-``, AND, OR, parentheses, escapes."""
    assert compile_filter(text)(attributes) is matches


@pytest.mark.parametrize(
    "text",
    [
        "attributes:a AND attributes:b OR attributes:c",
        "attributes",
        "attributes.a",
        "attributes.a = b",
        "(attributes:a",
        "attributes:a)",
        "NOT",
        'messages.a = "x"',
        "attributes:a and attributes:b",
        'attributes.a = "open',
    ],
)
def test_what_is_not_a_filter(text):
    """Filtering: operators are upper case, strings are quoted, mixed AND and OR need brackets."""
    with pytest.raises(FilterError):
        compile_filter(text)


ATTRIBUTES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "xy"]))
LEAVES = st.one_of(
    st.sampled_from("abc").map(lambda k: (f"attributes:{k}", lambda m: k in m)),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "xy"])).map(
        lambda kv: (f'attributes.{kv[0]} = "{kv[1]}"', lambda m: m.get(kv[0]) == kv[1])
    ),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "xy"])).map(
        lambda kv: (
            f'hasPrefix(attributes.{kv[0]}, "{kv[1]}")',
            lambda m: kv[0] in m and m[kv[0]].startswith(kv[1]),
        )
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda t: (f"NOT ({t[0]})", lambda m: not t[1](m))),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) AND ({p[1][0]})", lambda m: p[0][1](m) and p[1][1](m))
        ),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) OR ({p[1][0]})", lambda m: p[0][1](m) or p[1][1](m))
        ),
    ),
    max_leaves=4,
)


@given(TREES, ATTRIBUTES)
def test_a_filter_means_what_its_tree_means(tree, attributes):
    """Filtering: any nesting of the operators holds exactly when its meaning holds."""
    text, meaning = tree
    if len(text.encode()) <= 256:
        assert compile_filter(text)(attributes) == meaning(attributes)
