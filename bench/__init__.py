"""`sampan bench`: load, and comparisons with etcd. README.md says how they are kept fair.

- main.py          the commands; spec.py what a run is, scenario.py the kinds of work
- load.py          one kind of load; worker.py, pipelined.py its processes
- compare.py       all of it beside etcd; comparison.py, report.py, plot.py what came of it
- plan.py          the rows and options; systems.py what is measured: sampan_cluster.py, etcd.py
- over_grpc.py     h2load before etcd, and before Sampan's gateways
- keys.py, leases.py, watchers.py    large numbers of each
"""
