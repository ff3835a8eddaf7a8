"""etcd's clients at the door: gRPC and JSON on one port, translated to the client protocol.

The wire half, `wire/`, listens and reads gRPC and HTTP; it calls the meaning half, `services/` and
`http_api.py`, by the two interfaces in `grpc.py` and `http.py`: callbacks, no task for each call,
which is what makes a call cheap.
"""
