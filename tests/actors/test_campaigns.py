"""Who campaigns when: at the first start, when a leader was killed, and when a disk is slow."""

import statistics

import pytest

from .three_cores import ELECTION_S, ThreeCores

SEEDS = range(16)


def seconds_to_a_new_leader(cores, old):
    began = cores.now
    assert cores.run(20.0, lambda: cores.leader() not in (0, old))
    return cores.now - began


# -- the first start


@pytest.mark.parametrize("link_s", [0.001, 0.05, 0.15, 0.25])
def test_at_the_first_start_terms_do_not_run_away(log, link_s):
    """However long votes take."""
    terms = []
    for seed in range(10):
        cores = ThreeCores(log, seed, link_s=link_s, disk_s=link_s)
        cores.elect()
        terms.append(max(soft[0] for soft in cores.soft.values()))
    assert max(terms) <= 4
    assert statistics.median(terms) == 2, "the term after the configuration's"


def test_the_first_leader_is_there_before_an_election_timeout(log):
    for seed in SEEDS:
        cores = ThreeCores(log, seed)
        assert cores.elect() == 1
        assert cores.now - 100.0 < ELECTION_S / 2


# -- a leader that was killed


def test_who_sees_its_leader_die_does_not_wait_for_the_election_timeout(log):
    took = []
    for seed in SEEDS:
        cores = ThreeCores(log, seed)
        old = cores.elect()
        cores.put(1.0)
        cores.kill(old)
        took.append(seconds_to_a_new_leader(cores, old))
        assert len(cores.terms_led) == 2
    assert statistics.median(took) < 0.2 * ELECTION_S
    assert max(took) < 0.5 * ELECTION_S


def test_a_slow_machine_takes_longer_and_needs_few_terms(log):
    for seed in SEEDS:
        cores = ThreeCores(log, seed, link_s=0.03, disk_s=0.03)
        old = cores.elect()
        cores.put(1.0)
        cores.kill(old, notice_s=0.1)
        seconds_to_a_new_leader(cores, old)
        assert max(term for term, _ in cores.terms_led) <= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_that_break_without_a_death_depose_nobody(log, seed):
    """One follower's, again and again, at any moment; refused for a while, too."""
    cores = ThreeCores(log, seed)
    leader = cores.elect()
    follower = cores.rng.choice([n for n in (1, 2, 3) if n != leader])
    before = set(cores.terms_led)
    for _ in range(30):
        cores.break_connections(leader, by=[follower])
        cores.put(cores.rng.random() * ELECTION_S / 2)
    cores.put(2 * ELECTION_S)
    assert cores.terms_led == before
    assert cores.soft[follower][1] == leader, "it is followed again"


@pytest.mark.parametrize("seed", SEEDS)
def test_breaks_among_followers_mean_nothing(log, seed):
    cores = ThreeCores(log, seed)
    leader = cores.elect()
    before = set(cores.terms_led)
    for _ in range(10):
        for n in (1, 2, 3):
            if n != leader:
                cores.break_connections(n)
        cores.put(0.3)
    assert cores.terms_led == before


def test_what_a_dead_leader_left_in_the_buffers_is_no_sign_of_life(log):
    for seed in SEEDS:
        cores = ThreeCores(log, seed, link_s=0.02)
        old = cores.elect()
        cores.put(1.0)
        cores.kill(old, notice_s=0.0001)  # noticed before its last messages arrive
        assert seconds_to_a_new_leader(cores, old) < 0.5 * ELECTION_S


def test_one_that_sees_the_death_alone_waits_with_the_other(log):
    for seed in SEEDS:
        cores = ThreeCores(log, seed)
        old = cores.elect()
        cores.dead.add(old)
        cores.break_connections(old, by=[n for n in (1, 2, 3) if n != old][:1])
        assert seconds_to_a_new_leader(cores, old) < 4 * ELECTION_S


# -- the end of a partition


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_cut_from_all_others_does_not_wait_for_the_election_timeout(log, seed):
    cores = ThreeCores(log, seed)
    cores.elect()
    cores.put(1.0)
    cores.cut_all()
    cores.run(4 * ELECTION_S)
    assert not any(leader for _, leader, _ in cores.soft.values())
    terms = len(cores.terms_led)
    began = cores.now
    cores.heal(within_s=0.05)
    cores.elect()
    assert cores.now - began < 0.5 * ELECTION_S
    assert len(cores.terms_led) == terms + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_links_that_come_back_depose_nobody(log, seed):
    """One follower's, which has heard nobody for a while."""
    cores = ThreeCores(log, seed)
    leader = cores.elect()
    follower = cores.rng.choice([n for n in (1, 2, 3) if n != leader])
    before = set(cores.terms_led)
    for _ in range(10):
        cores.cut_all(ways=[(follower, n) for n in (1, 2, 3)] + [(n, follower) for n in (1, 2, 3)])
        cores.put(cores.rng.random() * 4 * ELECTION_S)
        cores.heal(within_s=0.05)
        cores.put(cores.rng.random() * ELECTION_S)
    cores.put(2 * ELECTION_S)
    assert cores.terms_led == before
    assert cores.soft[follower][1] == leader


# -- a leader whose disk is slow


@pytest.mark.parametrize("disk_s", [0.5, 0.7, 0.9, 3.0, 1000.0])
def test_a_leader_whose_disk_becomes_slow_hands_over(log, disk_s):
    for seed in SEEDS[:15]:
        cores = ThreeCores(log, seed)
        old = cores.elect()
        cores.put(1.0)
        cores.disk_s[old] = disk_s
        began = cores.now
        assert cores.put(3 * ELECTION_S, until=lambda c=cores, o=old: c.leader() not in (0, o))
        assert cores.now - began <= 2 * ELECTION_S
        before = set(cores.terms_led)
        cores.put(30 * ELECTION_S)
        assert cores.terms_led == before, "it stays at that"


@pytest.mark.parametrize("disk_s", [0.3, 0.6, 0.9])
def test_where_all_disks_are_slow_nobody_hands_over(log, disk_s):
    for seed in SEEDS[:10]:
        cores = ThreeCores(log, seed)
        cores.elect()
        before = set(cores.terms_led)
        cores.disk_s = dict.fromkeys((1, 2, 3), disk_s)
        cores.put(20 * ELECTION_S)
        assert cores.terms_led == before


def test_one_slow_write_is_no_reason(log):
    for seed in SEEDS[:10]:
        cores = ThreeCores(log, seed)
        leader = cores.elect()
        before = set(cores.terms_led)
        for _ in range(10):
            cores.disk_s[leader] = 0.6
            cores.put(0.05)
            cores.disk_s[leader] = 0.001
            cores.put(1.0)
        assert cores.terms_led == before


def test_of_two_slow_disks_the_third_leads_in_the_end(log):
    for seed in SEEDS[:10]:
        cores = ThreeCores(log, seed)
        old = cores.elect()
        fast = next(n for n in (3, 2, 1) if n != old)
        for n in (1, 2, 3):
            cores.disk_s[n] = 0.001 if n == fast else 0.7
        assert cores.put(5 * ELECTION_S, until=lambda c=cores, f=fast: c.leader() == f)


def test_who_gave_up_leads_when_nobody_else_does(log):
    cores = ThreeCores(log, 1)
    old = cores.elect()
    cores.disk_s[old] = 0.7
    assert cores.put(5 * ELECTION_S, until=lambda: cores.leader() not in (0, old))
    cores.disk_s[old] = 0.001
    new = cores.leader()
    third = 6 - old - new
    cores.cut |= {(third, old), (third, new)}  # hears everything, and says nothing
    cores.dead.add(third)
    cores.run(1.0)
    cores.dead.add(new)
    cores.dead.discard(third)
    cores.cut = {(third, n) for n in (1, 2, 3)} - {(third, old)}
    assert cores.run(20 * ELECTION_S, lambda: cores.leader() in (old, third))
