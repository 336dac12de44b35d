"""The engine of ClickHouse in a process of its own, with as much of its HTTP interface as the client uses.

Run as ``python clickhouse_process.py DIRECTORY PORT``. It is the real engine (chDB); only the HTTP server is ours.
"""

import asyncio
import gzip
import importlib
import os
import signal
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import lz4.frame
import zstandard
from aiohttp import web

# Parameters of a request that are not settings of a statement.
_NOT_SETTINGS = {"query", "database", "query_id", "session_id", "compress", "decompress", "client_protocol_version"}
_NOT_SETTINGS |= {"wait_end_of_query", "role", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
_NOT_SETTINGS |= {"enable_http_compression", "default_format"}


def _decompress_frames(body: bytes) -> bytes:
    """Return the content of lz4 frames that follow each other: the client makes one of each block."""
    content = []
    while body:
        frame = lz4.frame.LZ4FrameDecompressor()
        content.append(frame.decompress(body))
        body = frame.unused_data or b""
    return b"".join(content)


_DECOMPRESS = {
    "lz4": _decompress_frames,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class Engine:
    """One session of the engine, which runs a statement at a time: settings belong to the session."""

    def __init__(self, directory: str) -> None:
        session: Any = importlib.import_module("chdb.session")  # here, because it loads the engine
        self._session = session.Session(directory)
        self._lock = asyncio.Lock()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if encoding := request.headers.get("Content-Encoding"):
            body = _DECOMPRESS[encoding](body)
        parameters = dict(request.query)
        statement = parameters.pop("query", "")
        if not statement or (request.content_type == "application/octet-stream" and b" FORMAT " not in body[:10]):
            statement, body = (statement, body) if statement else (_text_of(body), _data_of(body))
        settings = {name: value for name, value in parameters.items() if name not in _NOT_SETTINGS}
        bound = {
            name.removeprefix("param_"): settings.pop(name) for name in list(settings) if name.startswith("param_")
        }
        output = parameters.get("default_format", "TabSeparated")
        async with self._lock:
            try:
                found = await asyncio.to_thread(
                    self._run, parameters.get("database", "default"), statement, body, settings, bound, output
                )
            except Exception as error:
                code = str(error).partition("Code: ")[2].partition(".")[0] or "1002"
                return web.Response(status=500, text=str(error), headers={"X-ClickHouse-Exception-Code": code})
        return web.Response(body=found, headers={"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Format": "Native"})

    def _run(
        self, database: str, statement: str, body: bytes, settings: dict[str, str], bound: dict[str, str], output: str
    ) -> bytes:
        run = self._session.query
        run(f"USE {database}")
        for name, value in settings.items():
            run(f"SET {name} = '{value}'")
        for name, value in bound.items():
            run(f"SET param_{name} = '{value}'")
        try:
            if not body:
                return bytes(run(statement, _format_of(statement, output)).bytes())
            with tempfile.NamedTemporaryFile() as file:
                file.write(body)
                file.flush()
                into, _, kind = statement.rpartition(" FORMAT ")
                run(f"{into} FROM INFILE '{file.name}' FORMAT {kind}")
                return b""
        finally:
            for name in settings:
                run(f"SET {name} = DEFAULT")


def _text_of(body: bytes) -> str:
    head, _, _ = body.partition(b"\n") if b" FORMAT " in body[:4096].partition(b"\n")[0] else (body, b"", b"")
    return head.decode()


def _data_of(body: bytes) -> bytes:
    line, _, data = body.partition(b"\n")
    return data if line.lstrip().upper().startswith(b"INSERT") and b" FORMAT " in line else b""


def _format_of(statement: str, otherwise: str) -> str:
    _, found, kind = statement.rstrip().rpartition("FORMAT ")
    return kind.strip() if found and kind.strip().isalnum() else otherwise


async def serve(directory: Path, port: int) -> None:
    os.environ["TMPDIR"] = str(directory)
    engine = Engine(str(directory / "data"))
    application = web.Application(client_max_size=2**30)
    application.router.add_get("/ping", lambda _: asyncio.sleep(0, web.Response(text="Ok.\n")))
    application.router.add_route("*", "/", engine.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
