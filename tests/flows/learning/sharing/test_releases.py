"""One release a slot, of at least five accounts, within each account's budget, without the gone."""

import contextlib
import threading
from types import SimpleNamespace

import msgspec
import pytest
from geminivideo.learning import noise
from geminivideo.services import hearing, shared_patterns
from geminivideo.services import sharing as loop
from geminivideo.services.learning_loops import LoopContext

DAY = 86400.0


def silent(cells, sensitivity, epsilon):
    """No noise, where a test asks what is underneath it."""
    return list(cells)


def louder(cells, sensitivity, epsilon):
    """Noise that lets a release out: its count is far above any gate."""
    return [10**6, *noise.laplace(cells[1:], sensitivity, epsilon)]


def test_an_account_that_never_said_yes_shares_and_receives_nothing(world):
    """Off by default: its cycle goes through the loop, and nothing of it is written."""
    world.account("quiet")
    world.ads("quiet")
    world.few()
    run = world.loop("quiet")
    assert run.status == "completed"
    assert run.result == {
        "status": "active",
        "patterns_shared": 0,
        "global_patterns_received": 0,
        "opted_in": False,
    }
    assert run.degraded == ()
    assert world.consent("quiet") is None
    assert world.ledger("quiet") is None


def test_accounts_that_agree_learn_from_each_other(world):
    """Two hundred accounts' questions win, far above the noise: one of their cycles makes the
    release, and each receives it, an empty account too."""
    ids = world.sharers(200)
    world.account("mine")
    world.opt("mine")
    world.ads("mine")
    run = world.loop("mine")
    (release,) = world.releases()
    assert run.result["opted_in"] is True
    assert run.result["patterns_shared"] == 2
    assert run.result["global_patterns_received"] == len(release.patterns) >= 1
    lifts = {pattern.trait: pattern.lift for pattern in release.patterns}
    assert lifts["hook_type=question"] > 1.05
    world.account("empty")
    world.opt("empty")
    new = world.loop("empty")
    assert new.result["patterns_shared"] == 0
    assert new.result["global_patterns_received"] == len(release.patterns)
    assert set(world.ledgers()) == {world.ledger(one).id for one in [*ids, "mine"]}


def test_the_release_says_its_mechanism_and_nobody_s_name(world):
    """Mechanism, sensitivity, epsilon, delta and scale stand in it; no account's id does."""
    ids = world.few()
    release = loop.release_if_due(world.documents, world.clock.now(), louder)
    assert release.mechanism == "discrete-laplace"
    assert (release.sensitivity, release.epsilon, release.delta) == (10_000, 2.0, 0.49)
    assert release.scale == release.sensitivity / release.epsilon
    body = msgspec.json.encode(release).decode()
    assert not any(one in body for one in ids)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_fewer_than_five_accounts_share_nothing(world, count):
    """The release is withheld, whatever the noise: no cell, and no count."""
    ids = world.sharers(count)
    world.account("asks")
    for account in ids or ["asks"]:
        world.loop(account)
    loud = loop.release_if_due(world.documents, world.clock.now(), lambda *_: [10**9] * 25)
    assert (loud.released_at, loud.accounts, loud.noisy, loud.patterns) == (None, None, {}, ())
    if ids:
        assert "nothing-shared-yet" in world.loop(ids[0], "again").degraded


def test_five_accounts_are_hidden_by_the_gate(world):
    """Just as many as the least: what four cannot cause, five do not show."""
    world.sharers(5)
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert made.released_at is None
    assert made.patterns == ()


def test_a_slot_is_charged_though_it_was_withheld(world):
    """What one account's ledger holds does not tell how many others there were."""
    ids = world.few(3)
    assert loop.release_if_due(world.documents, world.clock.now(), silent).released_at is None
    assert all(len(world.ledger(one).losses) == 1 for one in ids)


def test_a_slot_has_one_release_however_many_cycles_run(world):
    """The second cycle finds it made: the same noise, and no second loss."""
    ids = world.few()
    world.loop(ids[0])
    first = world.releases()
    for account in ids[1:4]:
        world.loop(account)
        world.clock.at += 5 * DAY
    assert world.releases() == first
    assert all(len(ledger.losses) == 1 for ledger in world.ledgers().values())


def test_two_writers_at_once_make_one_release(world):
    """Both read that there is none; one commits, and both have what it committed."""
    world.few()
    barrier, made, drawn = threading.Barrier(2), [], []

    def at_once(cells, sensitivity, epsilon):
        if len(drawn) < 2:
            drawn.append(1)
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(1.0)
        return noise.laplace([*cells], sensitivity, epsilon)

    def write():
        made.append(loop.release_if_due(world.documents, world.clock.now(), at_once))

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert made[0] == made[1] == world.releases()[0]
    assert len(world.releases()) == 1
    assert {len(ledger.losses) for ledger in world.ledgers().values()} == {1}


def test_a_cycle_that_was_killed_after_the_release_makes_no_second(world):
    """The same event again: the release and the losses stand, and the loop ends."""
    ids = world.few()
    made = loop.release_if_due(world.documents, world.clock.now())
    run = world.loop(ids[0])
    assert run.status == "completed"
    assert world.releases() == [made]
    assert len(world.ledger(ids[0]).losses) == 1


def test_the_next_slot_has_a_release_of_its_own(world):
    """Fresh noise and a second loss; the newer of two that were let out stands."""
    ids = world.few()
    first = loop.release_if_due(world.documents, world.clock.now(), louder)
    world.next_slot()
    world.renew(ids)
    second = loop.release_if_due(world.documents, world.clock.now(), louder)
    assert world.releases() == [first, second]
    assert first.noisy != second.noisy
    assert [loss.epsilon for loss in world.ledger(ids[0]).losses] == [2.0, 2.0]
    assert shared_patterns.standing(world.documents) == second


def test_a_spent_budget_keeps_accounts_out_and_the_old_release_stands(world):
    """With a budget of one release, the next slot has none of them; they are told, and keep what
    they had."""
    ids = world.few(budget_epsilon=2.0)
    old = loop.release_if_due(world.documents, world.clock.now(), louder)
    world.next_slot()
    world.renew(ids)
    run = world.loop(ids[0])
    assert [one.released_at is None for one in world.releases()] == [False, True]
    assert run.degraded == ("privacy-budget-spent",)
    assert run.result["global_patterns_received"] == len(old.patterns)
    assert shared_patterns.standing(world.documents) == old
    assert len(world.ledger(ids[0]).losses) == 1


def test_a_fresh_account_does_not_pay_for_the_spent_ones(world):
    """Accounts with a budget make the next release without those who have none left."""
    spent = world.few(budget_epsilon=2.0)
    loop.release_if_due(world.documents, world.clock.now(), silent)
    world.next_slot()
    world.renew(spent)
    fresh = world.sharers(7, "f")
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert made.accounts == 7
    assert len(world.ledger(fresh[0]).losses) == 1
    assert len(world.ledger(spent[0]).losses) == 1


def test_opting_out_takes_the_contribution_away_before_the_next_release(world):
    """The contribution is gone at once; the release made with it stands, and so does its loss."""
    ids = world.few(11)
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert made.accounts == 11
    for gone in ids[:3]:
        world.opt(gone, into=False)
        assert world.consent(gone).contribution is None
    assert world.releases() == [made]
    world.next_slot()
    world.renew(ids[3:])
    assert loop.release_if_due(world.documents, world.clock.now(), silent).accounts == 8
    run = world.loop(ids[0])
    assert run.result["opted_in"] is False
    assert run.result["global_patterns_received"] == 0
    assert len(world.ledger(ids[0]).losses) == 1


def test_opting_in_again_gives_no_budget_back(world):
    """The ledger is the account's for as long as its losses count."""
    ids = world.few(budget_epsilon=2.0)
    loop.release_if_due(world.documents, world.clock.now(), silent)
    world.opt(ids[0], into=False)
    world.opt(ids[0], into=True)
    world.ads(ids[0])
    world.next_slot()
    run = world.loop(ids[0])
    assert run.result["patterns_shared"] == 2
    assert "privacy-budget-spent" in run.degraded
    assert len(world.ledger(ids[0]).losses) == 1


def test_a_deleted_account_is_in_no_later_release(world):
    """Its document is gone: so is its consent with the contribution, at the next release."""
    ids = world.few(9)
    world.documents.delete(f"accounts/{ids[0]}")
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert made.accounts == 8
    assert world.consent(ids[0]) is None
    assert world.ledger(ids[0]) is None


def test_who_opts_out_while_its_cycle_runs_stays_out(world):
    """A cycle that read the consent before cannot write the contribution after."""
    world.account("a")
    world.opt("a")
    world.ads("a")
    real = world.documents.pages

    def opted_out_meanwhile(*given, **named):
        yield from real(*given, **named)
        world.opt("a", into=False)

    world.documents.pages = opted_out_meanwhile
    left = shared_patterns.contribute(world.documents, "a", world.clock.now())
    assert left.opted_in is False
    assert world.consent("a").contribution is None


def test_who_leaves_while_a_release_is_made_is_charged_if_and_only_if_it_is_in_it(world):
    """The store puts one before the other: the count, the losses and the consents agree."""
    ids, leavers = world.few(), []

    def meanwhile(cells, sensitivity, epsilon):
        if not leavers:
            leavers.append(threading.Thread(target=world.opt, args=(ids[0], False)))
            leavers[0].start()
            leavers[0].join(0.3)
        return list(cells)

    made = loop.release_if_due(world.documents, world.clock.now(), meanwhile)
    leavers[0].join()
    assert made.accounts == len(world.ledgers())
    assert (world.ledger(ids[0]) is not None) is (made.accounts == 8)
    assert world.consent(ids[0]).contribution is None
    assert world.consent(ids[0]).opted_in is False


def test_old_contributions_are_left_out(world):
    """An account whose cycles ended long ago is not in a release of today."""
    ids = world.few()
    world.clock.at += 40 * DAY
    fresh = world.sharers(6, "f")
    made = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert made.accounts == 6
    assert world.ledger(ids[0]) is None
    assert world.ledger(fresh[0]) is not None


def test_contributions_written_beyond_the_bounds_count_within_them(world):
    """What stands in the documents, whoever put it there, moves no cell by more than stated."""
    ids = world.few()
    honest = loop.release_if_due(world.documents, world.clock.now(), silent)
    world.next_slot()
    world.renew(ids)
    huge = {"contribution.lifts": {"hook_type=question": 10**9, "no-such-trait": 10**9}}
    world.documents.update(hearing.consent_path(ids[0]), huge)
    bent = loop.release_if_due(world.documents, world.clock.now(), silent)
    assert set(bent.noisy) == set(honest.noisy)
    assert bent.noisy["hook_type=question"] <= 4 * 750


def test_a_late_loop_leaves_the_work_to_the_next_cycle(world):
    """After its deadline it only says how the account stands."""
    world.account("a")
    world.opt("a")
    world.ads("a")
    cycle = SimpleNamespace(account_id="a")
    step = SimpleNamespace(documents=world.documents, clock=world.clock)
    late = LoopContext(step, cycle, deadline_at=world.clock.now())
    assert loop.share(late).members["patterns_shared"] == 0
    assert world.releases() == []
