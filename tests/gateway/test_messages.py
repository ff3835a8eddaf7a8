import subprocess
import sys

import pytest
from sampan.gateway import messages as pb


def test_what_travels_is_what_etcd_sends():
    """Bytes as etcd's own messages have them (seen on the wire)."""
    compare = pb.Compare(target=3, result=3, key=b"k", value=b"v", range_end=b"z")
    assert compare.SerializeToString() == bytes.fromhex("080310031a016b3a01768204017a")
    put = pb.PutRequest(key=b"k", value=b"v", lease=-1)
    assert put.SerializeToString().hex() == "0a016b12017618" + "ff" * 9 + "01"


def test_one_of_several():
    request = pb.WatchRequest()
    assert request.WhichOneof("request_union") is None
    request.progress_request.SetInParent()
    assert request.WhichOneof("request_union") == "progress_request"
    request.cancel_request.watch_id = 7
    assert request.WhichOneof("request_union") == "cancel_request"


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="no message Nope"):
        pb.Nope  # noqa: B018


def test_they_live_beside_another_clients_messages():
    """In a fresh process: the same names in the default pool before and after ours."""
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool
def other(name):
    file = descriptor_pb2.FileDescriptorProto(name=name, package="etcdserverpb", syntax="proto3")
    file.message_type.add(name="PutRequest")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
other("rpc.proto")
from sampan.gateway import messages
assert messages.PutRequest(key=b"k").key == b"k"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
