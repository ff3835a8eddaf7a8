"""What a node tells over HTTP: `/metrics`, `/health`, `/livez`, `/readyz`, `/version`.

Pages are made here and served by `hosts/web.py`. Nothing that can be asked here changes anything.

- pages.py         which path is answered with what
- health.py        etcd's checks, over a client of the node
- metrics.py       what the node has counted, in Prometheus' text, by etcd's names
- process.py       memory, processor time and descriptors of the node's processes
"""
