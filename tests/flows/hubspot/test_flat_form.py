"""The flat form, without a secret: taken on this machine, labelled, and credited at once."""


def flat(ad_id, deal_id, stage, **members):
    return {"ad_id": ad_id, "deal_id": deal_id, "stage": stage, **members}


def gateway(site):
    return site.url("gateway")


def test_a_stage_change_is_credited_and_answered_at_once(unsigned):
    """The seed's appointment: value, increment, confidence, ROAS, and that nobody signed it."""
    unsigned.add_ad("ad-flat", "default", spend=100_00)
    asked = flat("ad-flat", "d1", "appointment_scheduled", deal_value=15000)
    status, answer = unsigned.post(asked, url=gateway(unsigned))
    assert status == 200
    revenue = {"value": 2250.0, "incremental": 2250.0, "confidence": 0.6, "currency": "USD"}
    assert answer["synthetic_revenue"] == revenue
    assert answer["pipeline_roas"] == 2250 * 0.95 / 100
    assert (answer["status"], answer["attribution"], answer["verified"]) == (
        "credited", "utm_content", False,
    )  # fmt: skip
    status, again = unsigned.post(asked, url=gateway(unsigned))
    assert (again["status"], again["synthetic_revenue"]["incremental"]) == ("unchanged", 0.0)
    assert unsigned.ad("ad-flat").deals == 1


def test_late_and_lost_changes_end_right(unsigned):
    """A later call about an earlier time changes nothing; closed_lost takes everything back."""
    unsigned.add_ad("ad-late", "default")
    now = unsigned.now()
    won = flat("ad-late", "d2", "closed_won", deal_value="9999.99", timestamp=now - 10)
    assert unsigned.post(won)[1]["synthetic_revenue"]["value"] == 9999.99
    late = flat("ad-late", "d2", "show_up", timestamp=(now - 500) * 1000)
    assert unsigned.post(late)[1]["status"] == "unchanged"
    lost = unsigned.post(flat("ad-late", "d2", "closed_lost"))[1]["synthetic_revenue"]
    assert (lost["value"], lost["incremental"], lost["confidence"]) == (0.0, -9999.99, 1.0)
    assert unsigned.ad("ad-late").pipeline_value == 0


def test_an_unknown_stage_is_worth_nothing_and_says_so(unsigned):
    """Recorded, valued at nothing, named in ``degraded``."""
    unsigned.add_ad("ad-odd", "default")
    status, answer = unsigned.post(flat("ad-odd", "d3", "moon phase"))
    assert (status, answer["synthetic_revenue"]["value"]) == (200, 0.0)
    assert answer["degraded"] == ["unknown-stage:default/moonphase"]


def test_what_cannot_be_understood_is_a_422_that_names_it(unsigned):
    """Never a 500, never a guess."""
    for wrong, named in (
        ({"ad_id": "a", "deal_id": "d"}, "stage"),
        (flat("a", "d", "lead", deal_value="ten"), "deal_value"),
        (flat("a", "d", "lead", deal_value=-1), "deal_value"),
        (flat("a", "d", "lead", timestamp="soon"), "timestamp"),
        (flat("a", "d", "lead", timestamp="2096-10-02"), "timestamp"),
        (flat("../x", "d", "lead"), "ad_id"),
        (b"[{}]", "HubSpot events"),
        (b"{", "JSON"),
    ):
        status, answer = unsigned.post(wrong)
        assert (status, named in answer["error"]) == (422, True), (wrong, answer)


def test_an_unsigned_array_is_stored_and_labelled(unsigned, event):
    """The double has no secret either: its calls come unsigned, and the record says so."""
    deal = unsigned.hubspot.create(dealstage="lead")
    (stored,) = unsigned.eventually(lambda: [e for e in unsigned.events() if e.deal_id == deal])
    assert stored.verified is False
