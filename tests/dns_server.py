"""A DNS server on loopback that knows SRV records and nothing else."""

import socket
import threading
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset


class DnsServer:
    """Answers from `records`: name -> [(host, port), …]. `asked` are the names of its questions."""

    def __init__(self):
        self.records, self.asked = {}, []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(data)).to_wire(), client)

    def _answer(self, question):
        answer = dns.message.make_response(question)
        name = question.question[0].name
        text = name.to_text(omit_final_dot=True)
        self.asked.append(text)
        found = [f"0 0 {port} {host}." for host, port in self.records.get(text, [])]
        if found:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *found))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def resolver(self):
        """One that asks it alone."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.port
        return resolver

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@contextmanager
def asked_by_this_process(monkeypatch):
    """A server that is asked instead of the machine's."""
    server = DnsServer()
    monkeypatch.setattr(dns.resolver, "default_resolver", server.resolver())
    try:
        yield server
    finally:
        server.close()
