"""Clients of HTTP/3, and a server of it, by aioquic. One line of JSON says what came of it.

    quic.py fetch ADDRESS VERSION COUNT NAME...   COUNT connections, the names by turns
    quic.py rebind ADDRESS NAME PATH              a download during which the client's port changes
    quic.py serve ADDRESS NAME retry|versions     a server that asks each client to prove its address (RFC 9000 §8.1.2),
                                                  or that knows version 2 only; it ends with its input
"""

import asyncio
import hashlib
import json
import ssl
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve as listen
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicProtocolVersion

AT_ONCE = 50
VERSIONS = {"1": QuicProtocolVersion.VERSION_1, "2": QuicProtocolVersion.VERSION_2}


class Client(QuicConnectionProtocol):
    """One connection, with one request at a time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.done = None
        self.headers, self.body, self.progress = {}, [], None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and self.done and not self.done.done():
            self.done.set_exception(ConnectionError(str(event)))
        for it in self.http.handle_event(event):
            if isinstance(it, HeadersReceived):
                self.headers = {name.decode(): value.decode() for name, value in it.headers}
            if isinstance(it, DataReceived):
                self.body.append(it.data)
                if self.progress:
                    self.progress(sum(map(len, self.body)))
            if it.stream_ended and not self.done.done():
                self.done.set_result(None)

    async def get(self, name, path):
        self.headers, self.body = {}, []
        self.done = asyncio.get_running_loop().create_future()
        stream = self._quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": name, ":path": path}
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in fields.items()], end_stream=True)
        self.transmit()
        await self.done
        return b"".join(self.body)


def configuration(name, version="1"):
    conf = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=name, idle_timeout=60)
    # Authority and server have one name in these certificates, which OpenSSL takes for a certificate that signed itself.
    # Who answers is seen by what it says.
    conf.verify_mode = ssl.CERT_NONE
    versions = [VERSIONS[one] for one in version]
    conf.original_version = versions[0]
    conf.supported_versions = versions
    return conf


async def fetch(address, version, count, *names):
    host, port = address.rsplit(":", 1)
    limit = asyncio.Semaphore(AT_ONCE)
    wrong = []

    async def one(number):
        name = names[number % len(names)]
        async with limit:
            try:
                conf = configuration(name, version)
                async with connect(host, int(port), configuration=conf, create_protocol=Client) as client:
                    for _ in range(2):
                        said = await asyncio.wait_for(client.get(name, "/"), 60)
                        if said.decode() != name:
                            wrong.append(f"{name}: {said!r}")
            except Exception as error:  # whatever it is, the test shows it
                wrong.append(f"{name}: {error!r}")

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(int(count))))
    return {"count": int(count), "wrong": wrong, "seconds": time.monotonic() - began}


class Away(asyncio.DatagramProtocol):
    """The side of the relay that the server sees."""

    def __init__(self, relay):
        self.relay = relay

    def datagram_received(self, data, address):
        self.relay.inside.sendto(data, self.relay.client)


class Relay(asyncio.DatagramProtocol):
    """A NAT: what it forwards comes from another port when it is told so."""

    def __init__(self, server):
        self.server, self.client, self.ports = server, None, []

    def connection_made(self, transport):
        self.inside = transport

    def datagram_received(self, data, address):
        self.client = address
        self.outside.sendto(data)

    async def change(self):
        loop = asyncio.get_running_loop()
        self.outside, _ = await loop.create_datagram_endpoint(
            lambda: Away(self), local_addr=("127.0.0.1", 0), remote_addr=self.server
        )
        self.ports.append(self.outside.get_extra_info("sockname")[1])


async def rebind(address, name, path):
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    inside, relay = await loop.create_datagram_endpoint(
        lambda: Relay((host, int(port))), local_addr=("127.0.0.1", 0)
    )
    await relay.change()
    own = inside.get_extra_info("sockname")[1]
    async with connect("127.0.0.1", own, configuration=configuration(name), create_protocol=Client) as client:
        steps = [1 << 19, 3 << 19]

        def progress(length):
            if steps and length > steps[0]:
                steps.pop(0)
                asyncio.ensure_future(relay.change())

        first = await asyncio.wait_for(client.get(name, "/"), 60)
        client.progress = progress
        body = await asyncio.wait_for(client.get(name, path), 60)
        client.progress = None
        last = await asyncio.wait_for(client.get(name, "/"), 60)
    return {
        "ports": len(set(relay.ports)),
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "names": [first.decode(), last.decode()],
    }


class Server(QuicConnectionProtocol):
    """It says its name."""

    name = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None

    def quic_event_received(self, event):
        self.http = self.http or H3Connection(self._quic)
        for it in self.http.handle_event(event):
            if isinstance(it, HeadersReceived):
                self.http.send_headers(it.stream_id, [(b":status", b"200")])
                self.http.send_data(it.stream_id, Server.name.encode(), end_stream=True)
                self.transmit()


async def serve(address, name, how):
    host, port = address.rsplit(":", 1)
    Server.name = name
    conf = QuicConfiguration(is_client=False, alpn_protocols=["h3"], idle_timeout=60)
    conf.load_cert_chain(f"{name}.pem", f"{name}.key")
    if how == "versions":
        conf.supported_versions = [VERSIONS["2"]]
    await listen(host, int(port), configuration=conf, create_protocol=Server, retry=how == "retry")
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    return {}


WHAT = {"fetch": fetch, "rebind": rebind, "serve": serve}
print(json.dumps(asyncio.run(WHAT[sys.argv[1]](*sys.argv[2:]))))
