"""What is around Sidekey: a name server, a vendor's TLS, a proxy. All serve in one thread until the program ends."""

import asyncio
import base64
import http.client
import socket
import ssl
import struct
import threading

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


class NameServer(asyncio.DatagramProtocol):
    """Answers A from a table; other questions about its names with nothing, other names with NXDOMAIN."""

    def __init__(self, address, names):
        self.names = names
        now(LOOP.create_datagram_endpoint(lambda: self, (address, 53)))

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, question, client):
        name, end = [], 12
        while length := question[end]:
            name.append(question[end + 1 : end + 1 + length].decode().lower())
            end += 1 + length
        (kind,) = struct.unpack("!H", question[end + 1 : end + 3])
        addresses = self.names.get(".".join(name))
        found = addresses if addresses and kind == 1 else []
        head = question[:2] + struct.pack("!HHHHH", 0x8180 if addresses else 0x8183, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address) for address in found)
        self.transport.sendto(head + question[12 : end + 5] + records, client)


class TlsVendor:
    """TLS in front of a sandbox."""

    def __init__(self, address, folder, sandbox):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.sni_callback = lambda _stream, name, _context: self.names.add(name)
        self.names, self.peers, self.sandbox = set(), [], sandbox
        now(asyncio.start_server(self.serve, *address, ssl=context))

    async def serve(self, *client):
        self.peers.append(client[1].get_extra_info("peername")[0])
        await relay(client, await asyncio.open_connection(*self.sandbox))


class Proxy:
    """CONNECT for those who know the password. Finds the vendor by its own table."""

    def __init__(self, place, password, names):
        self.host, port = place.split(":")
        self.expected, self.names, self.tunnels, self.seen = basic(*password), names, [], bytearray()
        now(asyncio.start_server(self.serve, self.host, int(port)))

    async def serve(self, *client):
        head = (await client[0].readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        if f"Proxy-Authorization: Basic {self.expected}" not in headers:
            client[1].write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=a\r\n\r\n")
            client[1].close()
            return
        target = line.removeprefix("CONNECT ").removesuffix(" HTTP/1.1")
        self.tunnels.append(target)
        host, port = target.split(":")
        vendor = await asyncio.open_connection(self.names[host], int(port), local_addr=(self.host, 0))
        client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay(client, vendor, self.seen)


async def relay(one, other, seen=None):
    """Until either side closes."""

    async def copy(reader, writer):
        while data := await reader.read(65536):
            if seen is not None:
                seen.extend(data)
            writer.write(data)
            await writer.drain()

    copies = [asyncio.create_task(copy(one[0], other[1])), asyncio.create_task(copy(other[0], one[1]))]
    done, left = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    for copy in left:
        copy.cancel()
    for copy in done:
        copy.exception()  # a side that was reset is one that closed
    for _, writer in (one, other):
        writer.close()


def now(coming):
    return asyncio.run_coroutine_threadsafe(coming, LOOP).result()


def basic(name, password):
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def get(place, path):
    connection = http.client.HTTPConnection(place, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()
