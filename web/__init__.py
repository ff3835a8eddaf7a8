"""What a node tells over HTTP: `/metrics`, `/health`, `/livez`, `/readyz`, `/version`, and the page
that shows raft at work.

All is made here and served by `hosts/web.py`. Nothing that can be asked here changes anything.

- pages.py         which path is answered with what
- health.py        etcd's checks, over a client of the node
- metrics.py       what the node has counted, in Prometheus' text, by etcd's names
- process.py       memory, processor time and descriptors of the node's processes
- page.py          the page: one document of the files in `static/`
- live.py          what it is told twice a second
- figures.py       what members' measures mean, for the page and for the terminal
- cluster.py       all members, as they are asked
- traces.py        ways of writes that are kept: the last, and the slowest
- sampling.py      which writes are traced without anybody looking
- spans.py         those, for OpenTelemetry
- picture.py       one of them as a picture
"""
