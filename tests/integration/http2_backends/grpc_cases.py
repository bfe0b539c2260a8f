"""gRPC's own library on both sides of the proxy: every case over HTTP/2 without TLS and over TLS, a line for each.

`grpc_cases.py FOLDER` serves, says `ports INSECURE SECURE`, reads `h2c ADDRESS tls ADDRESS`, and says `MODE CASE: good`, or
what was wrong. Paths choose routes: `/t.T/` goes to the server, `/gone.T/` and its like to what fails.
"""

import pathlib
import queue
import select
import socket
import sys
import threading
import time
import traceback
from concurrent import futures

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
CODES = {code.value[0]: code for code in grpc.StatusCode}
MESSAGE = "it was 100 % wrong: caf\u00e9\n\u4e2d"


class Service(grpc.GenericRpcHandler):
    """Methods over bytes, without protobuf. What becomes of a call is told to who waits for its number."""

    def __init__(self):
        self.ends = {}

    def service(self, details):
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "Echo": one(lambda request, context: request),
            "Count": many(lambda request, context: (b"%d" % i for i in range(int(request)))),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"%d" % sum(map(len, requests))),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, context: (b"re: " + it for it in requests)),
            "Fail": one(lambda request, context: context.abort(CODES[int(request)], MESSAGE)),
            "FailLate": many(self.fail_late),
            "Slow": one(self.slow),
            "Leave": many(self.leave),
            "Meta": one(self.meta),
            "Left": one(lambda request, context: b"%f" % context.time_remaining()),
            "Packed": one(self.packed),
            # Of grpc.health.v1.Health: SERVING.
            "Check": one(lambda request, context: b"\x08\x01"),
        }
        return handlers.get(details.method.rsplit("/", 1)[1])

    def fail_late(self, request, context):
        yield from (b"%d" % number for number in range(5))
        context.abort(grpc.StatusCode.DATA_LOSS, MESSAGE)

    def slow(self, request, context):
        """Until it is cancelled, or for 15 seconds."""
        ends = self.ends[request]
        done = threading.Event()
        context.add_callback(done.set)
        ends.put("began")
        done.wait(15)
        ends.put("cancelled" if not context.is_active() else "left alone")
        return b"late"

    def leave(self, request, context):
        yield b"one"
        context.cancel()
        time.sleep(0.1)

    def meta(self, request, context):
        got = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first-bin", got["x-own-bin"]), ("x-first", got["x-text"])))
        context.set_trailing_metadata((("x-last-bin", got["x-own-bin"][::-1]), ("x-last", got["x-text"])))
        return b""

    def packed(self, request, context):
        context.set_compression(grpc.Compression.Gzip)
        return request


class Client:
    def __init__(self, service, address, root, *options):
        self.service, self.address, self.root = service, address, root
        options = [*OPTIONS, *options]
        if root is None:
            self.channel = grpc.insecure_channel(address, options=options)
        else:
            own = grpc.ssl_channel_credentials(root)
            named = [("grpc.ssl_target_name_override", "localhost")]
            self.channel = grpc.secure_channel(address, own, options=options + named)

    def like(self, *options, address=None):
        """Another, with a connection of its own."""
        return Client(self.service, address or self.address, self.root, ("grpc.use_local_subchannel_pool", 1), *options)

    def one(self, method, request=b"", timeout=15, **more):
        return self.channel.unary_unary(method)(request, timeout=timeout, **more)

    def many(self, method, request=b""):
        return self.channel.unary_stream(method)(request, timeout=15)

    def failure(self, method, request=b"", **more):
        try:
            self.one(method, request, **more)
        except grpc.RpcError as error:
            return error.code().value[0], error.details()
        raise AssertionError("it did not fail")

    def slow(self, method="/t.T/Slow", **more):
        """A call that hangs, once it is at the server, and where its ends are told."""
        ends, name = queue.Queue(), b"%d" % time.monotonic_ns()
        self.service.ends[name] = ends
        call = self.channel.unary_unary(method).future(name, timeout=15, **more)
        assert ends.get(timeout=10) == "began"
        return call, ends


def is_in(client, code, method, request=b"x" * 2000, **more):
    got, message = client.failure(method, request, **more)
    assert got == code, (got, message)


def unary(client):
    assert client.one("/t.T/Echo", b"hello") == b"hello"


def server_stream(client):
    assert list(client.many("/t.T/Count", b"500")) == [b"%d" % i for i in range(500)]
    assert list(client.many("/t.T/Count", b"0")) == []


def client_stream(client):
    total = client.channel.stream_unary("/t.T/Sum")(iter([b"x" * 100] * 300), timeout=15)
    assert total == b"30000", total


def both_streams(client):
    """Each message is answered before the next is sent: nothing may wait for more."""
    sent = threading.Semaphore(0)

    def ask():
        for number in range(20):
            yield b"%d" % number
            assert sent.acquire(timeout=10)

    answers = []
    for answer in client.channel.stream_stream("/t.T/Chat")(ask(), timeout=15):
        answers.append(answer)
        sent.release()
    assert answers == [b"re: %d" % number for number in range(20)], answers


def empty_message(client):
    assert client.one("/t.T/Echo", b"") == b""


def message_of_four_megabytes(client):
    body = bytes(range(256)) * (4 * 4096)
    assert client.one("/t.T/Echo", body) == body


def many_small_messages(client):
    answers = client.channel.stream_stream("/t.T/Chat")((b"%d" % i for i in range(5000)), timeout=90)
    assert list(answers) == [b"re: %d" % i for i in range(5000)]


def metadata_first_and_last(client):
    value = bytes(range(256))
    own = (("x-own-bin", value), ("x-text", "a, b"))
    _, call = client.channel.unary_unary("/t.T/Meta").with_call(b"", timeout=15, metadata=own)
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (first["x-first-bin"], first["x-first"]) == (value, "a, b"), first
    assert (last["x-last-bin"], last["x-last"]) == (value[::-1], "a, b"), last


def error_without_messages(client):
    is_in(client, 5, "/t.T/Fail", b"5")
    is_in(client, 12, "/t.T/Nothing")


def error_after_messages(client):
    got = []
    try:
        for message in client.many("/t.T/FailLate"):
            got.append(message)
    except grpc.RpcError as error:
        assert (error.code().value[0], error.details()) == (15, MESSAGE), error
        assert got == [b"%d" % number for number in range(5)], got
        return
    raise AssertionError("it did not fail")


def message_that_is_percent_encoded(client):
    assert client.failure("/t.T/Fail", b"3") == (3, MESSAGE)


def every_status(client):
    for code in range(1, 17):
        is_in(client, code, "/t.T/Fail", b"%d" % code)


def deadline_of_the_client(client):
    begun = time.monotonic()
    left = float(client.one("/t.T/Left", timeout=5))
    # The library rounds what it sends up, by less than a tenth.
    assert 2 < left < 5.5, left
    name = b"deadline%d" % time.monotonic_ns()
    ends = client.service.ends[name] = queue.Queue()
    is_in(client, 4, "/t.T/Slow", name, timeout=3)
    assert (ends.get(timeout=10), ends.get(timeout=10)) == ("began", "cancelled")
    assert time.monotonic() - begun < 14


def deadline_of_the_route(client):
    """Its route has three seconds, whatever the client gives, which is more than the call lasts; the server is told."""
    name = b"route%d" % time.monotonic_ns()
    ends = client.service.ends[name] = queue.Queue()
    is_in(client, 4, "/brief.T/Slow", name, timeout=30)
    assert (ends.get(timeout=10), ends.get(timeout=10)) == ("began", "cancelled")


def cancelled_by_the_client(client):
    call, ends = client.slow()
    begun = time.monotonic()
    call.cancel()
    assert ends.get(timeout=10) == "cancelled"
    assert time.monotonic() - begun < 10, "long before it would end"
    assert client.one("/t.T/Echo", b"after") == b"after"


def cancelled_by_the_server(client):
    call = client.many("/t.T/Leave")
    assert next(call) == b"one"
    try:
        next(call)
    except grpc.RpcError as error:
        # What a server's library says of its own cancellation; over RST_STREAM it is CANCELLED too.
        assert error.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN), error
        return
    raise AssertionError("it did not fail")


def no_backend(client):
    is_in(client, 14, "/gone.T/Echo")


def backend_that_resets(client):
    is_in(client, 14, "/reset.T/Echo")


def no_place_at_the_backend(client):
    call, ends = client.slow("/full.T/Slow")
    is_in(client, 14, "/full.T/Echo")
    call.cancel()
    assert ends.get(timeout=10) == "cancelled"
    # And of a status of HTTP that is not ours.
    is_in(client, 14, "/plain503.T/Echo")


def backend_that_is_too_slow(client):
    is_in(client, 4, "/late.T/Echo")


def route_that_is_full(client):
    call, ends = client.slow("/few.T/Slow")
    is_in(client, 8, "/few.T/Echo")
    call.cancel()
    assert ends.get(timeout=10) == "cancelled"


def request_that_is_too_large(client):
    assert client.one("/small.T/Echo", b"x" * 100) == b"x" * 100
    is_in(client, 8, "/small.T/Echo")


def no_route(client):
    is_in(client, 12, "/nobody.T/Echo")


def nothing_for_this_client(client):
    is_in(client, 7, "/denied.T/Echo")
    is_in(client, 16, "/plain401.T/Echo")


def another_failure(client):
    is_in(client, 13, "/t.T/%00")


def messages_in_gzip(client):
    body = b"all of it is the same " * 20_000
    assert client.one("/t.T/Packed", body, compression=grpc.Compression.Gzip) == body
    messages = client.channel.stream_stream("/t.T/Chat")(iter([body] * 3), timeout=15, compression=grpc.Compression.Gzip)
    assert list(messages) == [b"re: " + body] * 3


class Forward:
    """Connections that are passed on, from a port that nobody listens at until it is opened."""

    def __init__(self, to):
        self.to, self.pairs = to, []
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def open(self):
        self.socket.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            one, _ = self.socket.accept()
            host, port = self.to.rsplit(":", 1)
            other = socket.create_connection((host, int(port)))
            self.pairs.append((one, other))
            threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        try:
            while True:
                ready, _, _ = select.select([one, other], [], [])
                for source in ready:
                    got = source.recv(65536)
                    if not got:
                        return self.shut(one, other)
                    (other if source is one else one).sendall(got)
        except OSError:
            self.shut(one, other)

    def shut(self, *sockets):
        for it in sockets:
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for pair in self.pairs:
            self.shut(*pair)
        self.pairs.clear()


def client_that_waits_and_connects_again(client):
    forward = Forward(client.address)
    quick = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    waiting = client.like(*quick, address=forward.address)
    call = waiting.channel.unary_unary("/t.T/Echo").future(b"late", timeout=15, wait_for_ready=True)
    try:
        call.result(timeout=0.3)
        raise AssertionError("nobody listens")
    except grpc.FutureTimeoutError:
        forward.open()
    assert call.result() == b"late"
    states = queue.Queue()
    waiting.channel.subscribe(states.put)
    for number in range(3):
        while states.get(timeout=10) != grpc.ChannelConnectivity.READY:
            pass
        forward.cut()
        while states.get(timeout=10) == grpc.ChannelConnectivity.READY:
            pass
        assert waiting.one("/t.T/Echo", b"%d" % number, wait_for_ready=True) == b"%d" % number


def client_that_pings(client):
    pinging = client.like(
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_timeout_ms", 10000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    call, ends = pinging.slow()
    time.sleep(1.5)
    assert not call.done()
    call.cancel()
    assert ends.get(timeout=10) == "cancelled"
    time.sleep(0.5)
    assert pinging.one("/t.T/Echo", b"still") == b"still"


def health_service(client):
    assert client.one("/grpc.health.v1.Health/Check") == b"\x08\x01"


CASES = [
    unary, server_stream, client_stream, both_streams, empty_message, message_of_four_megabytes, many_small_messages,
    metadata_first_and_last, error_without_messages, error_after_messages, message_that_is_percent_encoded, every_status,
    deadline_of_the_client, deadline_of_the_route, cancelled_by_the_client, cancelled_by_the_server, no_backend,
    backend_that_resets, no_place_at_the_backend, backend_that_is_too_slow, route_that_is_full, request_that_is_too_large,
    no_route, nothing_for_this_client, another_failure, messages_in_gzip, client_that_waits_and_connects_again,
    client_that_pings, health_service,
]  # fmt: skip


def run(mode, client):
    for case in CASES:
        try:
            case(client)
            result = "good"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            result = f"{type(error).__name__} {str(error)!r} at {where.line}"
        # In one piece: the other thread may print meanwhile.
        print(f"{mode} {case.__name__}: {result}\n", end="", flush=True)


def main(folder):
    folder, service = pathlib.Path(folder), Service()
    server = grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS)
    server.add_generic_rpc_handlers((service,))
    pair = [(folder / name).read_bytes() for name in ("demo.key", "demo.pem")]
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    print("ports %d %d" % (server.add_insecure_port("127.0.0.1:0"), secure), flush=True)
    server.start()
    _, plain, _, tls = sys.stdin.readline().split()
    root = (folder / "ca.pem").read_bytes()
    clients = {"h2c": Client(service, plain, None), "tls": Client(service, tls, root)}
    runs = [threading.Thread(target=run, args=it) for it in clients.items()]
    for it in runs:
        it.start()
    for it in runs:
        it.join()
    print("done", flush=True)


main(sys.argv[1])
