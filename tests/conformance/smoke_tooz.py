"""tooz, OpenStack's coordination, against one endpoint, HOST:PORT as the argument."""

import sys

from tooz import coordination

URL = f"etcd3+http://{sys.argv[1]}"


def member(name):
    found = coordination.get_coordinator(URL, name)
    found.start(start_heart=True)
    return found


one, other = member(b"one"), member(b"other")
group = b"fleet"
one.create_group(group).get()
for each in (one, other):
    each.join_group(group).get()
assert set(one.get_members(group).get()) == {b"one", b"other"}
print("groups")
lock = one.get_lock(b"helm")
assert lock.acquire()
assert not other.get_lock(b"helm").acquire(blocking=False)
lock.release()
assert other.get_lock(b"helm").acquire(blocking=False)
print("locks")
left = []
one.watch_leave_group(group, left.append)
one.run_watchers()
other.leave_group(group).get()
one.run_watchers()
assert [event.member_id for event in left] == [b"other"]
print("watchers")
one.leave_group(group).get()
one.delete_group(group).get()
for each in (one, other):
    each.stop()
