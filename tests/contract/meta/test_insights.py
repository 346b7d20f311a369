"""The insights edge against facebook_business, over HTTP: numbers, report runs, pages, tokens."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests
from facebook_business.adobjects.ad import Ad
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.adreportrun import AdReportRun
from facebook_business.adobjects.adset import AdSet
from facebook_business.adobjects.campaign import Campaign
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError

from emulators.faults.rules import Quota
from emulators.market import Market
from emulators.meta import AdDay, Conversion, MarketMismatchError, Pace, Server

ACCOUNT, TOKEN, READS = "act_1001", "EAAB-test-token", "EAAB-read-token"
DAY = 86_400.0
NUMBERS = ["impressions", "clicks", "inline_link_clicks", "spend", "reach"]
ADS = {"level": "ad", "limit": 500}


@pytest.fixture
def meta(start: Callable[..., Server]) -> Server:
    """A double that knows a token for reading."""
    return start(read_tokens={READS})


@pytest.fixture
def reader(meta: Server, client: Callable[..., FacebookAdsApi]) -> AdAccount:
    """The account, read with the token that cannot write."""
    return AdAccount(ACCOUNT, api=client(meta.url, READS))


@pytest.fixture
def ads(meta: Server) -> list[str]:
    """Three live ads of 50.00 a day."""
    return meta.seed(ACCOUNT, 3, 50_00)


@pytest.fixture
def market(meta: Server, clock: Any) -> Market:
    """Four ads in a market that begins now."""
    meta.attach(ACCOUNT, Market(7, 4))
    found = meta.market_of(ACCOUNT)
    assert found is not None
    return found


def today(clock: Any, days: int = 0) -> date:
    return datetime.fromtimestamp(clock.now() + days * DAY, UTC).date()


def span(clock: Any, first: int, last: int) -> dict[str, str]:
    return {"since": today(clock, first).isoformat(), "until": today(clock, last).isoformat()}


def rows_of(node: Any, fields: list[str], **params: Any) -> list[dict[str, Any]]:
    return [row.export_all_data() for row in node.get_insights(fields=fields, params=params)]


def error_of(call: Callable[[], Any]) -> FacebookRequestError:
    with pytest.raises(FacebookRequestError) as raised:
        call()
    return raised.value


def finished(run: AdReportRun) -> list[tuple[str, int]]:
    """Poll a report to its end; what each poll said."""
    said = []
    for _ in range(10):
        run = run.api_get(fields=["async_status", "async_percent_completion"])
        said.append((run["async_status"], run["async_percent_completion"]))
        if said[-1][0] in ("Job Completed", "Job Failed"):
            return said
    raise AssertionError(said)


def test_numbers_are_strings_and_money_is_in_major_units(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """Insights show every number as a string and spend in the currency's major unit, with the
    rates Meta derives (CTR and frequency per its field reference: clicks / impressions in percent,
    impressions / reach)."""
    row = AdDay(
        ad_id=ads[0],
        date=today(clock),
        impressions=1000,
        clicks=50,
        link_clicks=40,
        spend=12_34,
        reach=800,
    )
    meta.set_insights(ACCOUNT, [row])
    fields = [*NUMBERS, "ctr", "cpm", "cpc", "frequency", "ad_id", "account_currency"]
    assert rows_of(reader, fields, **ADS, date_preset="today") == [
        {
            "impressions": "1000",
            "clicks": "50",
            "inline_link_clicks": "40",
            "spend": "12.34",
            "reach": "800",
            "ctr": "5",
            "cpm": "12.34",
            "cpc": "0.2468",
            "frequency": "1.25",
            "ad_id": ads[0],
            "account_currency": "USD",
            "date_start": today(clock).isoformat(),
            "date_stop": today(clock).isoformat(),
        }
    ]


def test_a_currency_without_minor_units_has_no_decimals(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """Meta's currency page: yen have no minor unit, 1234 is 1234 yen in budgets and insights."""
    meta.configure(ACCOUNT, "JPY", "Asia/Tokyo")
    clock.at = 1_790_002_800.0  # 15:00 UTC: the next day has begun in Tokyo
    row = AdDay(ad_id=ads[0], date=date(2026, 9, 22), impressions=10, spend=1234)
    meta.set_insights(ACCOUNT, [row])
    (shown,) = rows_of(reader, ["spend", "account_currency"], **ADS, date_preset="today")
    assert (shown["spend"], shown["account_currency"]) == ("1234", "JPY")
    told = reader.api_get(fields=["currency", "timezone_name"])
    assert (told["currency"], told["timezone_name"]) == ("JPY", "Asia/Tokyo")
    assert next(iter(reader.get_minimum_budgets()))["currency"] == "JPY"


def test_a_purchase_is_told_under_several_names(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """Meta lists one purchase as purchase, fb_pixel_purchase and omni_purchase: sums would count
    it three times."""
    bought = Conversion(action_type="purchase", count=2, value=30_00)
    row = AdDay(ad_id=ads[0], date=today(clock), spend=10_00, link_clicks=9, conversions=(bought,))
    meta.set_insights(ACCOUNT, [row])
    fields = ["actions", "action_values", "purchase_roas"]
    (shown,) = rows_of(reader, fields, **ADS, date_preset="today")
    actions = {item["action_type"]: item["value"] for item in shown["actions"]}
    assert actions == {
        "link_click": "9",
        "purchase": "2",
        "offsite_conversion.fb_pixel_purchase": "2",
        "omni_purchase": "2",
    }
    assert {item["value"] for item in shown["action_values"]} == {"30"}
    assert shown["purchase_roas"] == [{"action_type": "omni_purchase", "value": "3"}]


def test_attribution_windows_say_how_soon(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """``value`` is the default window (7 days after the click); asked windows stand beside it."""
    conversions = tuple(
        Conversion(action_type="lead", lag_s=lag * DAY) for lag in (0.5, 3.0, 6.9, 9.0)
    )
    row = AdDay(ad_id=ads[0], date=today(clock), impressions=1, conversions=conversions)
    meta.set_insights(ACCOUNT, [row])
    windows = ["1d_click", "7d_click", "28d_click", "1d_view"]
    (shown,) = rows_of(
        reader, ["actions"], **ADS, date_preset="today", action_attribution_windows=windows
    )
    assert shown["actions"][0] == {
        "action_type": "lead",
        "value": "3",
        "1d_click": "1",
        "7d_click": "3",
        "28d_click": "4",
        "1d_view": "0",
    }


def test_rows_are_grouped_by_level_and_cut_by_days(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """``level`` sums over what is below, ``time_increment`` cuts the range; objects and days
    without delivery have no row."""
    meta.set_insights(
        ACCOUNT,
        [
            AdDay(ad_id=ad, date=today(clock, day), impressions=100 + day, spend=1_00)
            for ad in ads[:2]
            for day in (-2, -1)
        ],
    )
    asked = {"time_range": span(clock, -3, 0)}
    fields = ["impressions", "spend"]
    assert len(rows_of(reader, fields, **ADS, time_increment=1, **asked)) == 4
    assert len(rows_of(reader, fields, **ADS, **asked)) == 2
    (campaign,) = rows_of(reader, [*fields, "campaign_name"], level="campaign", **asked)
    assert (campaign["impressions"], campaign["spend"]) == ("394", "4.00")
    assert campaign["campaign_name"] == "Market"
    whole = rows_of(reader, ["impressions"], **asked, time_increment=2)
    assert [(r["date_start"], r["date_stop"], r["impressions"]) for r in whole] == [
        (today(clock, -3).isoformat(), today(clock, -2).isoformat(), "196"),
        (today(clock, -1).isoformat(), today(clock, 0).isoformat(), "198"),
    ]


def test_each_object_has_its_own_insights(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """The edge exists on ad, ad set and campaign, each with its own level by default."""
    row = AdDay(ad_id=ads[1], date=today(clock), impressions=7)
    meta.set_insights(ACCOUNT, [row])
    api = reader.get_api()
    ad = Ad(ads[1], api=api).api_get(fields=["adset_id", "campaign_id"])
    fields = ["impressions", "adset_id", "ad_id"]
    for node in (
        Ad(ads[1], api=api),
        AdSet(ad["adset_id"], api=api),
        Campaign(ad["campaign_id"], api=api),
    ):
        (shown,) = rows_of(node, fields, date_preset="today")
        assert shown["impressions"] == "7"
        assert ("ad_id" in shown) == isinstance(node, Ad)
    assert rows_of(Ad(ads[0], api=api), fields, date_preset="today") == []


def test_filters_choose_objects_and_rows(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """``filtering`` takes an object's members and the row's numbers."""
    meta.set_insights(
        ACCOUNT,
        [
            AdDay(ad_id=ad, date=today(clock), impressions=100 * n, spend=1_00)
            for n, ad in enumerate(ads, 1)
        ],
    )

    def found(*filters: dict[str, Any]) -> list[str]:
        rows = rows_of(reader, ["ad_id"], **ADS, date_preset="today", filtering=list(filters))
        return [row["ad_id"] for row in rows]

    assert found({"field": "ad.id", "operator": "IN", "value": ads[:2]}) == ads[:2]
    more = {"field": "impressions", "operator": "GREATER_THAN", "value": 150}
    assert found(more) == ads[1:]
    assert found(more, {"field": "ad.name", "operator": "CONTAIN", "value": "3"}) == ads[2:]


def test_deleted_ads_are_told_of_when_asked_for(
    meta: Server, account_of_writer: AdAccount, ads: list[str], clock: Any
) -> None:
    """Meta leaves deleted objects out unless their status is filtered for; the account's sum
    still counts them."""
    row = AdDay(ad_id=ads[0], date=today(clock), impressions=5)
    meta.set_insights(ACCOUNT, [row])
    Ad(ads[0], api=account_of_writer.get_api()).api_delete()
    asked: dict[str, Any] = {"date_preset": "today"}
    gone = [{"field": "ad.effective_status", "operator": "IN", "value": ["DELETED"]}]
    assert rows_of(account_of_writer, ["impressions"], **ADS, **asked) == []
    assert len(rows_of(account_of_writer, ["impressions"], **ADS, **asked, filtering=gone)) == 1
    (whole,) = rows_of(account_of_writer, ["impressions"], **asked)
    assert whole["impressions"] == "5"


def test_pages_are_followed_by_the_client(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """25 rows a page by default; the client asks on with the cursor and gets each row once."""
    meta.set_insights(
        ACCOUNT, [AdDay(ad_id=ad, date=today(clock, -n), clicks=1) for ad in ads for n in range(20)]
    )
    asked = {"level": "ad", "time_increment": 1, "time_range": span(clock, -19, 0)}
    rows = rows_of(reader, ["ad_id", "clicks"], **asked)
    assert len(rows) == 60
    assert len({(row["ad_id"], row["date_start"]) for row in rows}) == 60


def test_a_report_run_is_polled_and_read(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """POST answers report_run_id; it is running at 100 percent for a moment before it is
    completed (seen of Meta's: facebook-php-business-sdk #288), then its rows are paged."""
    meta.set_insights(
        ACCOUNT, [AdDay(ad_id=ad, date=today(clock, -n), clicks=1) for ad in ads for n in range(20)]
    )
    params = {"level": "ad", "time_increment": 1, "time_range": span(clock, -19, 0)}
    run = reader.get_insights_async(fields=["clicks", "ad_id"], params=params)
    assert run["report_run_id"]
    said = finished(run)
    assert said[0] == ("Job Not Started", 0)
    assert said[-2:] == [("Job Running", 100), ("Job Completed", 100)]
    assert len(list(run.get_insights())) == 60
    assert len(list(run.get_insights(params={"limit": 7}))) == 60


def test_a_report_gets_ready_on_the_clock_alone(
    start: Callable[..., Server], client: Callable[..., FacebookAdsApi], clock: Any
) -> None:
    """A run takes its time whether it is polled or not."""
    server = start(pace=Pace(report_s=100.0))
    run = AdAccount(ACCOUNT, api=client(server.url)).get_insights_async()
    clock.advance(100)
    assert run.api_get()["async_status"] == "Job Completed"


def test_rows_asked_for_too_early_are_an_error(reader: AdAccount) -> None:
    """Error 2601 / 1815107, transient, as Meta answers before a run is completed."""
    error = error_of(lambda: list(reader.get_insights_async().get_insights()))
    assert (error.api_error_code(), error.api_error_subcode()) == (2601, 1815107)
    assert error.api_transient_error()


def test_a_failed_report_stays_failed(meta: Server, reader: AdAccount) -> None:
    """``Job Failed`` is an end; its rows cannot be read, and the next run is another one."""
    meta.fail_reports()
    run = reader.get_insights_async()
    assert finished(run)[-1][0] == "Job Failed"
    assert error_of(lambda: list(run.get_insights())).api_error_code() == 2601
    assert finished(reader.get_insights_async())[-1][0] == "Job Completed"


def test_a_report_is_of_the_moment_it_was_asked_for(
    meta: Server, reader: AdAccount, market: Market, clock: Any
) -> None:
    """Pages of one run fit together: what comes later is in a later run."""
    clock.advance(DAY)
    run = reader.get_insights_async(fields=["spend"], params={"date_preset": "maximum"})
    before = finished(run) and next(iter(run.get_insights()))["spend"]
    clock.advance(DAY)
    assert next(iter(run.get_insights()))["spend"] == before


def test_a_report_is_gone_after_thirty_days(reader: AdAccount, clock: Any) -> None:
    """Meta keeps a report run for 30 days."""
    run = reader.get_insights_async()
    clock.advance(31 * DAY)
    assert error_of(lambda: run.api_get()).api_error_subcode() == 33


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"time_range": {"since": "2026-09-22", "until": "2026-09-20"}}, 100),
        ({"time_range": {"since": "yesterday", "until": "today"}}, 100),
        ({"time_range": {"since": "2020-01-01", "until": "2020-01-02"}}, 3018),
        ({"level": "creative"}, 100),
        ({"time_increment": 91}, 100),
        ({"filtering": [{"field": "ctr", "operator": "EQUAL", "value": 1}]}, None),
        ({"breakdowns": ["age"]}, 3),
    ],
)
def test_wrong_questions_are_refused(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any, params: Any, code: int | None
) -> None:
    """A bad range, level or increment is code 100, a range before the 37 kept months 3018; what
    is not emulated says so."""
    meta.set_insights(ACCOUNT, [AdDay(ad_id=ads[0], date=today(clock, -1), impressions=1)])
    error = error_of(lambda: rows_of(reader, ["impressions"], **params))
    assert error.api_error_code() in (code, 100)


def test_an_unknown_field_is_refused(reader: AdAccount) -> None:
    """Fields that insights lack are code 100; fields that nothing is known of are left out."""
    error = error_of(lambda: rows_of(reader, ["impresions"]))
    assert error.api_error_code() == 100
    assert rows_of(reader, ["video_p25_watched_actions"]) == []


def test_a_reading_token_writes_nothing(
    meta: Server, reader: AdAccount, ads: list[str], client: Callable[..., FacebookAdsApi]
) -> None:
    """A token without ads_management is refused with code 200 on every write, and nothing is
    changed; report runs, which change nothing, may be asked for."""
    api = reader.get_api()
    ad = Ad(ads[0], api=api).api_get(fields=["adset_id", "status"])
    adset = AdSet(ad["adset_id"], api=api)
    for write in (
        lambda: adset.api_update(params={"daily_budget": 10_00}),
        lambda: Ad(ads[0], api=api).api_delete(),
        lambda: reader.create_campaign(params={"name": "x"}),
    ):
        error = error_of(write)
        assert (error.api_error_code(), error.http_status()) == (200, 403)
    assert adset.api_get(fields=["daily_budget"])["daily_budget"] == "5000"
    assert {write.effect for write in meta.writes()} == {"refused"}
    assert reader.get_insights_async()["report_run_id"]


def test_insights_have_their_own_limit_and_header(start: Callable[..., Server], clock: Any) -> None:
    """Use case ads_insights: 600 calls an hour on the limited tier, then 80000 / 2446079; the
    throttle header tells how much is used. Calls of ads_management go on."""
    server = start(tier="limited")
    url = f"{server.url}/v26.0/{ACCOUNT}"
    asked = {"access_token": TOKEN}
    with requests.Session() as session:
        first = session.get(f"{url}/insights", params=asked)
        throttle = json.loads(first.headers["x-fb-ads-insights-throttle"])
        assert throttle["acc_id_util_pct"] == pytest.approx(100 / 600, abs=0.01)
        server.graph.limits._database.executemany(
            "INSERT INTO insights_calls VALUES (?, ?)", [(ACCOUNT, clock.now())] * 599
        )
        refused = session.get(f"{url}/insights", params=asked)
        told = json.loads(refused.headers["X-Business-Use-Case-Usage"])["1001"]
        assert refused.json()["error"]["code"] == 80000
        assert [entry["type"] for entry in told] == ["ads_management", "ads_insights"]
        assert told[1]["estimated_time_to_regain_access"] == 60
        assert session.get(url, params=asked).status_code == 200
        clock.advance(3601)
        assert session.get(f"{url}/insights", params=asked).status_code == 200


def test_rows_can_be_set_over_http(
    meta: Server, reader: AdAccount, ads: list[str], clock: Any
) -> None:
    """``POST /_insights`` sets whole dates (again: instead), and lets reports fail."""

    def post(body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{meta.url}/_insights", json.dumps(body).encode(), method="POST"
        )
        return json.load(urllib.request.urlopen(request))

    row = {"ad_id": ads[0], "date": today(clock).isoformat(), "impressions": 1000, "clicks": 50}
    for clicks in (50, 60):
        assert post({"account": ACCOUNT, "rows": [{**row, "clicks": clicks}]}) == {"rows": 1}
    (shown,) = rows_of(reader, NUMBERS, **ADS, date_preset="today")
    assert (shown["impressions"], shown["clicks"]) == ("1000", "60")
    post({"fail_reports": 1})
    assert finished(reader.get_insights_async())[-1][0] == "Job Failed"
    for wrong in ({"ad_id": "1"}, {"clicks": 5}, {**row, "colour": "red"}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post({"account": ACCOUNT, "rows": [{"date": row["date"], **wrong}]})


def test_a_market_speaks_through_the_insights(
    meta: Server, reader: AdAccount, market: Market, clock: Any
) -> None:
    """With a market, an ad's days are what the market did under the live budgets."""
    clock.advance(3 * DAY)
    params = {**ADS, "time_increment": 1, "time_range": span(clock, -3, 0)}
    rows = rows_of(reader, [*NUMBERS, "ad_id"], **params)
    delivery = meta.delivery(ACCOUNT)
    known = clock.now() - Pace().insights_delay_s
    assert len({row["ad_id"] for row in rows}) == 4
    spent = sum(round(100 * float(row["spend"])) for row in rows)
    assert spent == delivery.spend(known)
    assert 0.8 * 4 * 3 * 50_00 < spent < 1.2 * 4 * 3 * 50_00


def test_conversions_are_counted_to_the_date_on_which_they_happened(
    meta: Server, client: Callable[..., FacebookAdsApi], clock: Any
) -> None:
    """As Meta does since June 2025: a date that is over grows no more, and one on which every ad
    was paused still has those of earlier clicks, 7 days long."""
    api = client(meta.url, TOKEN)
    meta.attach("act_1002", Market(7, 20))
    reader = AdAccount("act_1002", api=api)
    clock.advance(5 * DAY)
    for adset in reader.get_ad_sets():
        adset.api_update(params={"status": "PAUSED"})
    paused = today(clock)
    clock.advance(DAY)

    def leads(day: date) -> int:
        span = {"since": day.isoformat(), "until": day.isoformat()}
        rows = rows_of(reader, ["actions", "spend"], level="account", time_range=span)
        told = [one for row in rows for one in row.get("actions", ())]
        return sum(int(one["value"]) for one in told if one["action_type"] == "lead")

    before = leads(paused - timedelta(days=1))
    assert before > 0
    clock.advance(11 * DAY)
    assert leads(paused - timedelta(days=1)) == before
    assert leads(paused + timedelta(days=1)) > 0
    assert leads(paused + timedelta(days=9)) == 0


def test_a_changed_budget_is_spent_from_then_on(
    meta: Server, market: Market, account_of_writer: AdAccount, clock: Any
) -> None:
    """The market reads the double's own budgets and statuses: no other source of truth."""
    api = account_of_writer.get_api()
    ads = list(account_of_writer.get_ads(fields=["adset_id", "name"], params={"limit": 50}))
    rich, paused = ads[0], ads[1]
    clock.advance(DAY)
    AdSet(rich["adset_id"], api=api).api_update(params={"daily_budget": 150_00})
    AdSet(paused["adset_id"], api=api).api_update(params={"status": "PAUSED"})
    clock.advance(DAY)
    clock.advance(3600)
    delivery, since = meta.delivery(ACCOUNT), clock.now() - DAY
    spent = {
        ad["id"]: sum(row.spend for row in delivery.rows(number, since, clock.now()))
        for number, ad in enumerate(reversed(ads))
    }
    assert spent[rich["id"]] > 110_00
    assert spent[paused["id"]] < 15_00


def test_pausing_the_campaign_stops_every_ad(
    meta: Server, market: Market, account_of_writer: AdAccount, clock: Any
) -> None:
    """Delivery follows the effective status: under a paused campaign nothing is delivered."""
    (campaign,) = account_of_writer.get_campaigns(params={"limit": 5})
    campaign.api_update(params={"status": "PAUSED"})
    clock.advance(DAY)
    assert meta.delivery(ACCOUNT).spend(clock.now()) == 0
    campaign.api_update(params={"status": "ACTIVE"})
    clock.advance(DAY)
    assert meta.delivery(ACCOUNT).spend(clock.now()) > 0


def test_a_restart_goes_on_with_the_same_market(
    meta: Server, market: Market, start: Callable[..., Server], clock: Any
) -> None:
    """What the ads did is the same after a restart, whoever asked before it; another market for
    the account is refused by name."""
    clock.advance(2 * DAY)
    before = meta.delivery(ACCOUNT).value(clock.now())
    meta.stop()
    again = start()
    assert again.delivery(ACCOUNT).value(clock.now()) == before
    assert len(again.attach(ACCOUNT, Market(7, 4))) == 4
    with pytest.raises(MarketMismatchError, match="seed 7"):
        again.attach(ACCOUNT, Market(8, 4))


def test_deals_name_the_ads_by_their_ids(meta: Server, market: Market, clock: Any) -> None:
    """utm_content in a deal is the id of the ad at Meta, as ``{{ad.id}}`` would be."""
    clock.advance(12 * DAY)
    ids = set(meta.graph.audiences.ads(ACCOUNT))
    events = meta.delivery(ACCOUNT).deal_events(0.0, clock.now())
    named = {event.properties.get("utm_content") for event in events}
    assert named - {None} <= ids
    assert len(named - {None}) >= 2


@pytest.fixture
def account_of_writer(meta: Server, client: Callable[..., FacebookAdsApi]) -> AdAccount:
    """The account, with the token that may write."""
    return AdAccount(ACCOUNT, api=client(meta.url))


def test_a_scripted_quota_of_insights_is_theirs(meta: Server, reader: AdAccount) -> None:
    """A quota fault on the insights answers 80000, the use case's own code."""
    meta.fault("GET act_*/insights", quota=Quota(calls=0, window_s=60), times=1)
    assert error_of(lambda: rows_of(reader, ["spend"])).api_error_code() == 80000
    assert rows_of(reader, ["spend"]) == []
