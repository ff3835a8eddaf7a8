"""However many dicts hold what is written, it is as if one did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.storage import many_writes
from sampan.storage.many_writes import ManyWrites
from sampan.storage.overlay import Overlay

keys = st.binary(max_size=1)
steps = st.lists(st.tuples(keys, st.none() | st.binary(max_size=1)) | st.just("pop"), max_size=40)


@given(st.dictionaries(keys, st.none()), steps)
def test_it_is_a_dict(begun, steps):
    model = dict(begun)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_writes, "FULL", 3)
        writes = ManyWrites(begun)
        for step in steps:
            if step != "pop":
                writes[step[0]] = model[step[0]] = step[1]
            elif model:
                assert writes.popitem() == model.popitem()
            assert (len(writes), bool(writes)) == (len(model), bool(model))
            assert list(writes) == list(model)
            assert list(reversed(writes)) == list(reversed(model))
            assert list(writes.items()) == list(model.items())
            for key in (b"", b"a", *model):
                assert (key in writes) == (key in model)
                assert writes.get(key, b"none") == model.get(key, b"none")
                if key in model:
                    assert writes[key] == model[key]
                else:
                    with pytest.raises(KeyError):
                        writes[key]


def test_no_dict_grows_beyond_what_one_step_may_move(monkeypatch):
    monkeypatch.setattr(many_writes, "FULL", 100)
    monkeypatch.setattr(Overlay, "ONE_DICT_MAX", 60)
    overlay = Overlay(None)
    for number in range(1000):
        overlay.writes[b"%d" % number] = b""
        if not number % 30:
            overlay.begin_slice()
    assert max(map(len, overlay.writes._dicts)) == 100
    assert len(overlay.writes) == 1000
