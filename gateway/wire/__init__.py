"""HTTP on asyncio: from bytes to the callbacks of `gateway.grpc` and `gateway.http`.

server       ports; a connection's first bytes say who gets it
 ├ http1       one HTTP/1.1 connection: h11, requests for the HTTP app
 └ http2_link  one HTTP/2 connection: its socket, its timers
    ├ http2      the protocol, without I/O: bytes in, events out
    │  ├ heads, fields, hpack   what header blocks say
    │  ├ sender                 what is sent, within the client's windows
    │  └ frames                 their layout, and what a stream is
    ├ grpc_calls   gRPC on it: messages, statuses, deadlines
    └ http2_json   requests for the HTTP app
"""
