"""python-etcd3 against one endpoint, HOST:PORT as the argument: a line for what went well."""

import sys

import etcd3

host, _, port = sys.argv[1].rpartition(":")
client = etcd3.client(host=host, port=int(port), timeout=30)
client.delete_prefix("etcd3/")
client.put("etcd3/a", "1")
value, meta = client.get("etcd3/a")
assert (value, meta.key, meta.version) == (b"1", b"etcd3/a", 1)
assert client.replace("etcd3/a", "1", "2")
assert not client.put_if_not_exists("etcd3/a", "3")
assert [v for v, _ in client.get_prefix("etcd3/", sort_order="descend")] == [b"2"]
done, answers = client.transaction(
    compare=[client.transactions.value("etcd3/a") == "2"],
    success=[client.transactions.put("etcd3/b", "1"), client.transactions.get("etcd3/a")],
    failure=[],
)
assert done
assert answers[1][0][0] == b"2"
print("kv")
lease = client.lease(60)
client.put("etcd3/leased", "x", lease=lease)
assert lease.remaining_ttl <= 60
assert list(lease.keys) == [b"etcd3/leased"]
assert lease.refresh()[0].TTL == 60
lease.revoke()
assert client.get("etcd3/leased") == (None, None)
print("lease")
events, cancel = client.watch_prefix("etcd3/watched")
client.put("etcd3/watched/1", "3")
client.delete("etcd3/watched/1")
assert [type(next(events)).__name__ for _ in range(2)] == ["PutEvent", "DeleteEvent"]
cancel()
print("watch")
with client.lock("etcd3", ttl=30) as lock:
    assert lock.is_acquired()
print("lock")
assert client.status().leader.id in {member.id for member in client.members}
client.compact(client.get("etcd3/a")[1].mod_revision)
assert client.hash() is not None
print("cluster")
