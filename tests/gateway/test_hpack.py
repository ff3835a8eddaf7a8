"""The decoder of header blocks, beside the library's, which is slower and older."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.gateway.wire.heads import HeadReader
from sampan.gateway.wire.hpack import Decoder, HeadersTooLargeError, HpackError, literal

LIMIT = 1 << 20

names = st.sampled_from([":path", ":method", "te", "content-type", "grpc-timeout", "x", "cookie"])
names |= st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
values = st.sampled_from(["POST", "trailers", "", "1S", "application/grpc"])
values |= st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=300)
lists = st.lists(st.tuples(names, values, st.booleans()), max_size=20)


def encoded(encoder, headers, huffman):
    raw = [(n.encode("latin-1"), v.encode("latin-1"), s) for n, v, s in headers]
    return encoder.encode(raw, huffman=huffman)


def plain(fields):
    return [(name, value) for name, value, _ in fields]


@given(st.lists(st.tuples(lists, st.booleans(), st.sampled_from([None, 0, 100, 4096])), max_size=8))
def test_what_the_library_encodes(blocks):
    encoder, decoder = hpack.Encoder(), Decoder(LIMIT)
    for headers, huffman, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoded(encoder, headers, huffman)
        assert plain(decoder.decode(block)) == [(n, v) for n, v, _ in headers]


@given(st.lists(lists, max_size=8), st.booleans())
def test_repeated_blocks_mean_the_same(blocks, huffman):
    """The reader keeps what does not depend on a changed table, and nothing else."""
    encoder, reader, decoder = hpack.Encoder(), HeadReader(LIMIT), Decoder(LIMIT)
    for headers in [*blocks, *blocks, *reversed(blocks)]:
        block = encoded(encoder, headers, huffman)
        decoder.decode(block)
        head = reader.read(block)
        for name, value, _ in headers:
            if name[:1] != ":":
                assert value in head.headers[name]


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_garbage_is_refused_as_by_the_library(blocks):
    ours, theirs = Decoder(LIMIT), hpack.Decoder(max_header_list_size=LIMIT)
    for block in blocks:
        try:
            expected = theirs.decode(block, raw=True)
        except hpack.HPACKError:
            with pytest.raises(HpackError):
                ours.decode(block)
            return
        want = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in expected]
        assert plain(ours.decode(block)) == want


@given(lists, st.data())
def test_a_cut_block_is_refused_or_shorter(headers, data):
    block = encoded(hpack.Encoder(), headers, True)
    cut = data.draw(st.integers(0, len(block)))
    whole = [(n, v) for n, v, _ in headers]
    try:
        fields = plain(Decoder(LIMIT).decode(block[:cut]))
    except HpackError:
        return
    assert fields == whole[: len(fields)]


def test_a_list_has_a_limit_and_the_table_survives_it():
    encoder, decoder = hpack.Encoder(), Decoder(10_000)
    big = [("x", "a" * 2_000)]
    decoder.decode(encoder.encode(big))
    with pytest.raises(HeadersTooLargeError):
        decoder.decode(encoder.encode(big * 5))
    assert plain(decoder.decode(encoder.encode([*big, ("y", "b")]))) == [*big, ("y", "b")]


def test_a_block_of_references_has_the_same_limit():
    """4,000 bytes that stand for 16 MB."""
    encoder, decoder = hpack.Encoder(), Decoder(32_768)
    big = [("x", "a" * 4_000)]
    decoder.decode(encoder.encode(big))
    with pytest.raises(HeadersTooLargeError):
        decoder.decode(encoder.encode(big) * 4_000)


@given(st.text(st.characters(max_codepoint=255), max_size=500))
def test_our_literals(value):
    assert hpack.Decoder().decode(literal("grpc-message", value), raw=True) == [
        (b"grpc-message", value.encode("latin-1"))
    ]
