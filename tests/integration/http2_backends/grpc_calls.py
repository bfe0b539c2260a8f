"""gRPC's own library as a server and as a client: `serve NAME [PORT]`, or `CASE ADDRESS`."""

import signal
import sys
import threading
import time
from concurrent import futures

import grpc


def say(text):
    print(text, flush=True)


class Service(grpc.GenericRpcHandler):
    """Methods over bytes, without protobuf."""

    def __init__(self, name):
        self.name = name
        self.is_serving = True

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "Echo": one(lambda request, context: request),
            "Name": one(lambda request, context: self.name.encode()),
            "Count": many(lambda request, context: (b"%d" % i for i in range(int(request)))),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"%d" % sum(map(len, requests))),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, context: (b"re: " + it for it in requests)),
            "Fail": one(self.fail),
            "Slow": one(self.slow),
            "Meta": one(self.meta),
            "Drip": many(self.drip),
            # Of grpc.health.v1.Health: SERVING or NOT_SERVING.
            "Check": one(lambda request, context: b"\x08\x01" if self.is_serving else b"\x08\x02"),
        }
        return handlers.get(method)

    def fail(self, request, context):
        code, message = request.decode().split(" ", 1)
        context.abort(grpc.StatusCode[code], message)

    def slow(self, request, context):
        done = threading.Event()
        context.add_callback(done.set)
        say("began")
        done.wait(15)
        say("cancelled" if not context.is_active() else "left alone")
        return b"late"

    def meta(self, request, context):
        got = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first-bin", got["x-own-bin"]),))
        context.set_trailing_metadata((("x-last-bin", got["x-own-bin"][::-1]), ("x-text", got["x-text"])))
        return b""

    def drip(self, request, context):
        context.send_initial_metadata((("server", self.name),))
        for number in range(100):
            yield b"%d" % number
            # Long at first: all streams are to be open together, on a busy machine too.
            time.sleep(0.02 if number else 4)


LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def serve(name, port="0"):
    server = grpc.server(futures.ThreadPoolExecutor(16), options=LARGE)
    service = Service(name)
    server.add_generic_rpc_handlers((service,))
    say("port %d" % server.add_insecure_port("127.0.0.1:" + port))
    server.start()

    def leave(*_):
        # First it says so to who asks; the second time it ends what is under way, and is gone. What comes to it then this
        # library answers with CANCELLED.
        if service.is_serving:
            service.is_serving = False
        else:
            threading.Thread(target=lambda: server.stop(10)).start()

    signal.signal(signal.SIGTERM, leave)
    server.wait_for_termination()


class Client:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=LARGE)

    def one(self, method, request=b"", **more):
        return self.channel.unary_unary("/t.T/" + method)(request, timeout=more.pop("timeout", 15), **more)

    def many(self, method, request=b"", **more):
        return self.channel.unary_stream("/t.T/" + method)(request, **more)

    def failure(self, call):
        try:
            result = call()
            if not isinstance(result, bytes):
                list(result)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError("it did not fail")


def kinds(client):
    assert client.one("Echo", b"hello") == b"hello"
    assert client.one("Echo", b"") == b""
    assert list(client.many("Count", b"0")) == []
    assert list(client.many("Count", b"500")) == [b"%d" % i for i in range(500)]
    total = client.channel.stream_unary("/t.T/Sum")(iter([b"x" * 100] * 300), timeout=15)
    assert total == b"30000", total
    # Each message is answered before the next is sent: nothing may wait for more.
    answers = client.channel.stream_stream("/t.T/Chat")
    sent = threading.Semaphore(0)

    def ask():
        for number in range(20):
            yield b"%d" % number
            assert sent.acquire(timeout=10)

    for number, answer in enumerate(answers(ask(), timeout=15)):
        assert answer == b"re: %d" % number, answer
        sent.release()


def failures(client):
    for code in ["CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]:
        got = client.failure(lambda: client.one("Fail", (code + " it was 100 % wrong \u00e9").encode()))
        assert got == (code, "it was 100 % wrong \u00e9"), got
    code, _ = client.failure(lambda: client.one("Nothing"))
    assert code == "UNIMPLEMENTED", code


def large(client):
    for size in [1, 16_384, 65_536, 1_000_000, 8_000_000]:
        body = bytes(range(256)) * (size // 256 + 1)
        assert client.one("Echo", body) == body, size


def metadata(client):
    value = bytes(range(256))
    method = client.channel.unary_unary("/t.T/Meta")
    _, call = method.with_call(b"", timeout=15, metadata=(("x-own-bin", value), ("x-text", "a, b")))
    assert dict(call.initial_metadata())["x-first-bin"] == value
    trailing = dict(call.trailing_metadata())
    assert trailing["x-last-bin"] == value[::-1] and trailing["x-text"] == "a, b", trailing


def deadline(client):
    begun = time.monotonic()
    code, _ = client.failure(lambda: client.one("Slow", timeout=3))
    assert code == "DEADLINE_EXCEEDED", code
    # It lasts 15.
    assert time.monotonic() - begun < 12


def cancel(client):
    call = client.channel.unary_unary("/t.T/Slow").future(b"")
    say("asked")
    sys.stdin.readline()
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    assert client.one("Echo", b"after") == b"after"


def drips(client):
    """Streams of which some have a server that is killed: how each ended, by server."""
    calls = [client.many("Drip") for _ in range(20)]
    assert all(next(call) == b"0" for call in calls)
    say("open")
    for call in calls:
        server = dict(call.initial_metadata())["server"]
        try:
            say("%s: whole, %d" % (server, sum(1 for _ in call)))
        except grpc.RpcError as error:
            say("%s: %s" % (server, error.code().name))


def lasts(client):
    """Calls until there is a line, none of which may fail."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    counts, names = [0] * 8, set()

    def work(index):
        while not stop.is_set():
            names.add(client.one("Name", b"x"))
            counts[index] += 1

    with futures.ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(work, index) for index in range(8)]
        say("begun")
        for task in tasks:
            task.result()
    say("%d calls of %s" % (sum(counts), b" ".join(sorted(names)).decode()))
    assert sum(counts) > 50, counts


def code(client):
    """The status of one call, for what the test knows to fail."""
    say("%s: %s" % client.failure(lambda: client.one("Echo", b"x" * 2000)))


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    globals()[sys.argv[1]](Client(sys.argv[2]))
    say("good")
