"""A client of a queue, in words: `publish STREAM-SUBJECT FIRST` until its stdin ends, `read STREAM`, `request SUBJECT JSON`.

The server's URI, with user and password, is the first argument, the authority that signed its certificate (PEM) the second. Every line
printed is JSON: {"id"} of an acknowledged message, {"error"} for one in doubt, {"id"} of a message read, the answer to a request,
{"refused"} for one that the user may not make.
"""

import asyncio
import json
import ssl
import sys

import nats
from nats.errors import Error
from nats.js.errors import APIError

DEADLINE_SECONDS = 2.0
PAUSE_SECONDS = 0.01


async def publish(connection, subject, first):
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stream, number = connection.jetstream(timeout=DEADLINE_SECONDS), int(first)
    while not ended.done():
        try:
            # A message whose answer did not come is in doubt and is not sent again: what counts is what was acknowledged.
            await stream.publish(subject, str(number).encode())
            print(json.dumps({"id": number}))
        except (Error, APIError, TimeoutError) as error:
            print(json.dumps({"error": f"message {number}: {error!r}"}))
        number += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def read(connection, stream):
    consumer = await connection.jetstream(timeout=10).pull_subscribe("", stream=stream)
    left = (await consumer.consumer_info()).num_pending
    while left > 0:
        for message in await consumer.fetch(min(left, 500), timeout=10):
            print(json.dumps({"id": int(message.data)}))
            await message.ack()
            left -= 1


async def request(connection, subject, body):
    answer = asyncio.ensure_future(connection.request(subject, body.encode(), timeout=5))
    await asyncio.wait([answer, refused], return_when=asyncio.FIRST_COMPLETED)
    if refused.done():
        answer.cancel()
        print(json.dumps({"refused": refused.result()}))
    else:
        print(answer.result().data.decode())


async def main(uri, authority, verb, *args):
    global refused
    refused = asyncio.get_running_loop().create_future()

    async def note(error):
        if "permissions violation" in str(error).lower() and not refused.done():
            refused.set_result(str(error))

    verified = ssl.create_default_context(cadata=authority)
    connection = await nats.connect(uri, tls=verified, error_cb=note, max_reconnect_attempts=-1, reconnect_time_wait=0.2, connect_timeout=2)
    await {"publish": publish, "read": read, "request": request}[verb](connection, *args)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
