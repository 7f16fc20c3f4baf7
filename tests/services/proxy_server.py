# SPDX-License-Identifier: MIT
"""Forward TCP connections badly: the process behind tests.services.proxy, which it imports nothing from.

Standard input: one JSON command a line; standard output: one JSON answer a line, the first being {"port": …}.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from typing import Any

_CHUNK = 65536
_IN_FLIGHT = 512  # chunks under way in one direction: enough for a fast link with a long delay


Chunks = asyncio.Queue[tuple[float, bytes]]


class Link:
    """One proxied connection and what its plan does to it."""

    def __init__(self, proxy: Proxy, plan: dict[str, Any], client: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.plan = plan
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()

    def close(self, reset: bool) -> None:
        """Close both sides: politely, what was written still arriving, or by a reset."""
        self.flowing.set()
        for writer in filter(None, (self.client, self.server)):
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()

    async def forward(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its end or its fault."""
        queue: Chunks = asyncio.Queue(_IN_FLIGHT)
        taking = asyncio.create_task(self._take(reader, queue))
        try:
            await self._give(direction, writer, queue)
        except OSError:  # one side is gone: the other is told so
            self.close(reset=False)
        finally:
            taking.cancel()

    async def _take(self, reader: asyncio.StreamReader, queue: Chunks) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            await queue.put((asyncio.get_running_loop().time() + self.plan["delay"], data))

    async def _give(self, direction: str, writer: asyncio.StreamWriter, queue: Chunks) -> None:
        is_faulty = self.plan["action"] and self.plan["direction"] == direction
        left = self.plan["after"] if is_faulty else sys.maxsize
        while data := await self._due(queue):
            part, rest = data[:left], data[left:]
            left -= len(part)
            await self._write(direction, writer, part)
            if left == 0 and is_faulty:
                is_faulty, left = False, sys.maxsize
                if self._fail(writer):
                    return await self._discard(queue)
                await self._write(direction, writer, rest)
        writer.write_eof()

    async def _due(self, queue: Chunks) -> bytes:
        """Wait for the next chunk and for its time; an empty one is the end."""
        due, data = await queue.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        return data

    async def _write(self, direction: str, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self.flowing.wait()
        writer.write(data)
        self.proxy.passed[direction] += len(data)
        await writer.drain()

    async def _discard(self, queue: Chunks) -> None:
        while (await queue.get())[1]:
            pass

    def _fail(self, writer: asyncio.StreamWriter) -> bool:
        """Do what the plan says; tell whether this direction has ended."""
        self.proxy.faults += 1
        action = self.plan["action"]
        if action == "stall":
            self.flowing.clear()
            return False
        if action == "half_close":
            writer.write_eof()
        else:
            self.close(reset=action == "reset")
        return True


class Proxy:
    """Listen, and give each connection its plan."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.default: dict[str, Any] = {"delay": 0.0, "action": None, "direction": "to_client", "after": 0}
        self.next: list[dict[str, Any]] = []
        self.links: set[Link] = set()
        self.accepted = 0
        self.faults = 0
        self.passed = {"to_client": 0, "to_server": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection from its beginning to its end."""
        self.accepted += 1
        link = Link(self, self.next.pop(0) if self.next else self.default, writer)
        self.links.add(link)
        try:
            if link.plan["action"] == "refuse":
                self.faults += 1
            else:
                await self._connect(link, reader, writer)
        finally:
            self.links.discard(link)
            link.close(reset=False)

    async def _connect(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, link.server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:  # the target is down: the client sees its connection close
            return
        for side in (writer, link.server):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.TaskGroup() as directions:
            directions.create_task(link.forward("to_server", reader, link.server))
            directions.create_task(link.forward("to_client", server_reader, writer))

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command of the tests."""
        verb = command["verb"]
        if verb == "default":
            self.default = command["plans"][0]
        elif verb == "next":
            self.next += command["plans"]
        elif verb == "drop":
            for link in list(self.links):
                link.close(reset=True)
        elif verb in ("stall", "release"):
            for link in self.links:
                if verb == "release":
                    link.flowing.set()
                else:
                    link.flowing.clear()
        return {
            "accepted": self.accepted,
            "open": len(self.links),
            "faults": self.faults,
            "planned": len(self.next),
            **self.passed,
        }


async def main(target_port: int) -> None:
    """Serve until standard input ends."""
    proxy = Proxy(target_port)
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
    _answer({"port": server.sockets[0].getsockname()[1]})
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        _answer(proxy.obey(json.loads(line)))


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
