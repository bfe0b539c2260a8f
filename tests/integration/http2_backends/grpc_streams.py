"""Many streams of gRPC at once, by its library for asyncio: `serve`, or `ask ADDRESS CONNECTIONS STREAMS`.

The client says `open` once every stream has had its first answer, waits for a line, has each answered three times more, and
says `good` when all of them ended well.
"""

import asyncio
import sys
import time

import grpc


def say(text):
    print(text, flush=True)


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(self.chat)

    async def chat(self, requests, context):
        async for request in requests:
            yield b"re: " + request


async def serve():
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 100_000)])
    server.add_generic_rpc_handlers((Service(),))
    say("port %d" % server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


async def stream(channel, number, opening, opened, go_on):
    await opening.acquire()
    call = channel.stream_stream("/t.T/Chat")(timeout=500)
    for turn in range(4):
        message = b"%d of %d" % (turn, number)
        await call.write(message)
        answer = await call.read()
        assert answer == b"re: " + message, (answer, message)
        if turn == 0:
            opening.release()
            opened.release()
            await go_on.wait()
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def ask(address, connections, streams):
    # Without a pool that they share, each has a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]
    # A server of this library cancels what comes while a thousand calls wait for it to look at them.
    opening = asyncio.Semaphore(500)
    opened, go_on = asyncio.Semaphore(0), asyncio.Event()
    begun = time.monotonic()
    tasks = [asyncio.create_task(stream(channels[i % connections], i, opening, opened, go_on)) for i in range(streams)]
    everybody = asyncio.gather(*tasks)

    async def all_open():
        for _ in range(streams):
            await opened.acquire()

    waiting = asyncio.create_task(all_open())
    await asyncio.wait([waiting, everybody], return_when=asyncio.FIRST_COMPLETED)
    if everybody.done():
        everybody.result()
    say("open after %.1f s" % (time.monotonic() - begun))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    begun = time.monotonic()
    go_on.set()
    await everybody
    say("three rounds in %.1f s" % (time.monotonic() - begun))
    say("good")


if sys.argv[1] == "serve":
    asyncio.run(serve())
else:
    asyncio.run(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
