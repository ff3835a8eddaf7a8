"""etcd's clients at the door: gRPC and JSON on one port, translated to the client protocol.

The wire half: `server.py` listens, looks at the first bytes of a connection and hands it to HTTP/2
(`http2.py`, with `grpc_calls.py` above) or to HTTP/1.1 (`http1.py`). What it calls is the meaning
half, by the two interfaces in `grpc.py` and `http.py`: callbacks, no task for each call, which is
what makes a call cheap.
"""
