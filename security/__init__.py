"""Who may do what: users, roles, rights on ranges of keys. Pure rules, no I/O.

    ranges.py     a set of keys, as the union of ranges
    auth.py       users, roles, whether all this is enabled; how a request changes them
    rules.py      what each request of the protocol needs
    passwords.py  how a password is kept, and compared with what is kept

The model is etcd's (server/auth, server/etcdserver/apply/auth.go). A user has roles, a role has
rights on ranges of keys, and the role `root` has every right. Each change of users and roles makes
a new *auth revision*. A request is admitted for a user under the auth revision that the node knew,
and judged when it is executed, under the one that holds then: a request from before a change is
refused and sent again, so that nothing that was granted or revoked meanwhile is decided by what was
true before. What is judged is part of the log, so every member decides the same at any time.

Whatever these rules do not know needs root.
"""
