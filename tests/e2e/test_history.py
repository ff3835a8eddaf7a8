"""The checker must catch what it is there to catch."""

import random

import pytest

from .history import ACKED, INFINITY, NOT_APPLIED, UNKNOWN, Op, Violation, check, states_of


def play(count=400, clients=8, seed=1):
    """A correct history: each operation takes effect at an instant between its call and return."""
    rng = random.Random(seed)
    free, planned = [0.0] * clients, []
    for n in range(count):
        call = free[n % clients] + rng.random()
        at = call + rng.random() * 4
        ret = at + rng.random() * 4
        free[n % clients] = ret
        planned.append((at, call, ret, rng.random(), b"k%d" % rng.randrange(4), n))
    ops, log, state = [], {}, {}
    revision = 1
    for _at, call, ret, dice, key, n in sorted(planned):
        if dice < 0.4:
            found = tuple((k, v, r) for k, (v, r) in sorted(state.items()))
            ops.append(Op("read", b"k", b"", call, ret, ACKED, revision, found))
        elif dice < 0.5:
            there = key in state
            if there:
                revision += 1
                log[revision] = [(key, None)]
                del state[key]
            ops.append(Op("delete", key, b"", call, ret, ACKED, revision, (key,) if there else ()))
        elif dice < 0.55:
            ops.append(Op("put", key, b"%d" % n, call, ret, NOT_APPLIED))
        else:
            revision += 1
            value = b"%d" % n
            log[revision] = [(key, value)]
            state[key] = (value, revision)
            if dice < 0.6:
                ops.append(Op("put", key, value, call, INFINITY, UNKNOWN))
            else:
                ops.append(Op("put", key, value, call, ret, ACKED, revision))
    rng.shuffle(ops)
    return ops, log


def pick(ops, **wanted):
    """Position of an operation late enough to have a past."""
    return next(
        i for i, op in enumerate(ops)
        if all(getattr(op, name) == value for name, value in wanted.items())
        and (op.revision > 60 or op.outcome != ACKED)
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_a_correct_history_passes(seed):
    check(*play(seed=seed))


def test_a_lost_acknowledged_write_is_caught():
    ops, log = play()
    op = ops[pick(ops, kind="put", outcome=ACKED)]
    log[op.revision] = []
    with pytest.raises(Violation, match="lost"):
        check(ops, log)


def test_an_acknowledged_write_at_another_revision_is_caught():
    ops, log = play()
    at = pick(ops, kind="put", outcome=ACKED)
    ops[at] = ops[at]._replace(revision=ops[at].revision - 1)
    with pytest.raises(Violation, match="lost"):
        check(ops, log)


def test_a_lost_delete_is_caught():
    ops, log = play()
    at = next(i for i, op in enumerate(ops) if op.kind == "delete" and op.found)
    log[ops[at].revision] = []
    with pytest.raises(Violation, match="delete was lost"):
        check(ops, log)


def test_a_write_called_not_applied_but_there_is_caught():
    ops, log = play()
    at = pick(ops, kind="put", outcome=ACKED)
    ops[at] = ops[at]._replace(outcome=NOT_APPLIED, revision=0)
    with pytest.raises(Violation, match="not applied"):
        check(ops, log)


def test_a_write_applied_twice_is_caught():
    ops, log = play()
    op = ops[pick(ops, kind="put", outcome=ACKED)]
    log[max(log) + 1] = [(op.key, op.value)]
    with pytest.raises(Violation, match="twice"):
        check(ops, log)


def test_a_value_that_nobody_wrote_is_caught():
    ops, log = play()
    log[max(log) + 1] = [(ops[pick(ops, kind="put")].key, b"from nowhere")]
    with pytest.raises(Violation, match="nobody wrote"):
        check(ops, log)


def test_a_read_of_another_value_is_caught():
    ops, log = play()
    at = next(i for i, op in enumerate(ops) if op.kind == "read" and op.found)
    (key, _, revision), *rest = ops[at].found
    ops[at] = ops[at]._replace(found=((key, b"wrong", revision), *rest))
    with pytest.raises(Violation, match="another state"):
        check(ops, log)


@pytest.mark.parametrize("seed", range(10))
def test_a_stale_read_is_caught(seed):
    """It answers from a state that was replaced long before it was called."""
    ops, log = play(seed=seed)
    at = pick(ops, kind="read")
    old = ops[at].revision - 40
    found = tuple((k, v, r) for k, (v, r) in sorted(states_of(log)[old].items()))
    ops[at] = ops[at]._replace(revision=old, found=found)
    with pytest.raises(Violation, match="stale read"):
        check(ops, log)


def test_the_same_stale_answer_is_fine_for_a_serializable_read():
    ops, log = play()
    at = pick(ops, kind="read")
    old = ops[at].revision - 40
    found = tuple((k, v, r) for k, (v, r) in sorted(states_of(log)[old].items()))
    ops[at] = ops[at]._replace(kind="serializable", revision=old, found=found)
    check(ops, log)


def test_writes_out_of_the_order_of_time_are_caught():
    """Two acknowledged writes, the second called after the first had returned, swap revisions."""
    first = Op("put", b"k", b"1", 0.0, 1.0, ACKED, 3)
    second = Op("put", b"k", b"2", 2.0, 3.0, ACKED, 2)
    with pytest.raises(Violation, match="order"):
        check([first, second], {2: [(b"k", b"2")], 3: [(b"k", b"1")]})


def test_a_read_from_the_future_is_caught():
    ops, log = play()
    at = pick(ops, kind="read")
    ops[at] = ops[at]._replace(revision=max(log) + 5)
    with pytest.raises(Violation, match="future"):
        check(ops, log)
