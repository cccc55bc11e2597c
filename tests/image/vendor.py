"""A name server and a TLS endpoint before the sandbox, for the network of the containers.

    vendor.py CERTIFICATE KEY PORT      of the sandbox, which speaks plain http

Every name is 127.0.0.1, where port 443 hands on what it decrypts.
"""

import asyncio
import ssl
import sys

A, IN, TTL_S = 1, 1, 60


async def main(certificate, key, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    await asyncio.get_running_loop().create_datagram_endpoint(Names, local_addr=("127.0.0.1", 53))

    async def hand_on(reader, writer):
        upstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, upstream[1]), copy(upstream[0], writer))

    await asyncio.start_server(hand_on, "127.0.0.1", 443, ssl=context)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def copy(reader, writer):
    try:
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Names(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, asker):
        end = query.index(b"\0", 12) + 5
        question, kind = query[12:end], int.from_bytes(query[end - 4 : end - 2])
        # A pointer to the name in the question.
        record = b"\xc0\x0c" + A.to_bytes(2) + IN.to_bytes(2) + TTL_S.to_bytes(4) + (4).to_bytes(2) + bytes([127, 0, 0, 1])
        answers = 1 if kind == A else 0
        head = query[:2] + b"\x81\x80" + (1).to_bytes(2) + answers.to_bytes(2) + bytes(4)
        self.transport.sendto(head + question + record * answers, asker)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
