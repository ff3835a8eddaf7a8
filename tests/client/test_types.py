"""What answers are made of."""

from sampan.client import errors
from sampan.client.types import KeyValue, KeyValues, ResponseHeader

RAW = tuple((b"%d" % n, n, n + 1, 1, 0, b"v") for n in range(5))


def test_keys_of_an_answer_are_a_sequence_of_key_values():
    kvs = KeyValues(RAW)
    expected = [KeyValue(*each) for each in RAW]
    assert (len(kvs), bool(kvs), bool(KeyValues(()))) == (5, True, False)
    assert kvs[0].mod_revision == 1
    assert kvs[-1] == expected[-1]
    assert [type(kv) for kv in kvs] == [KeyValue] * 5
    assert list(kvs[1:3]) == expected[1:3]
    assert kvs == expected
    assert kvs == KeyValues(RAW)
    assert hash(kvs) == hash(KeyValues(RAW))
    assert kvs != expected[:4]
    assert kvs != [*expected[:4], expected[0]]
    assert kvs != 5
    assert repr(kvs) == repr(expected)
    assert expected[2] in kvs


def test_a_copy_of_an_error_has_all_of_it_but_the_traceback():
    head = ResponseHeader(1, 2, 3, 4)
    error = errors.WatchCompactedError("compacted", 5, head)
    error.__cause__ = ValueError("why")
    again = error.copy()
    assert type(again) is errors.WatchCompactedError
    assert again is not error
    assert (str(again), again.code, again.text) == ("compacted", error.code, "compacted")
    assert (again.compact_revision, again.header) == (5, head)
    assert again.__cause__ is error.__cause__
