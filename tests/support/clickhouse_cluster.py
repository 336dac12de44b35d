"""A cluster of two shards from Debian's packages: ZooKeeper, two servers, and a proxy that speaks for the first.

Its ClickHouse is of 2018 (18.16). The proxy leaves out what that one does not know: compression, indexes and
dictionaries of columns, columns that are made of JSON, and some settings. Everything else reaches the
cluster as it was sent.
"""

import asyncio
import contextlib
import glob
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import lz4.frame
from aiohttp import ClientSession, web

from tests.support.ports import free_port
from tests.support.programs import require, running, wait_for, wait_for_port

NAME = "two"
_JARS = ("zookeeper*", "log4j-1.2*", "slf4j-api*", "slf4j-log4j12*", "netty-all*")
_SERVER = """<yandex>
<logger><level>warning</level><console>1</console></logger><listen_host>127.0.0.1</listen_host>
<http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
<interserver_http_port>{interserver}</interserver_http_port><interserver_http_host>127.0.0.1</interserver_http_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>67108864</mark_cache_size><timezone>UTC</timezone>
<remote_servers><{name}>{shards}</{name}></remote_servers>
<zookeeper><node><host>127.0.0.1</host><port>{zookeeper}</port></node></zookeeper>
<macros><shard>{shard}</shard><replica>only</replica></macros>
<distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl></yandex>"""
_SHARD = (
    "<shard><internal_replication>true</internal_replication>"
    "<replica><host>127.0.0.1</host><port>{}</port></replica></shard>"
)
_USERS = """<yandex><profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>
<quota>default</quota></default></users><quotas><default><interval><duration>3600</duration><queries>0</queries>
<errors>0</errors><result_rows>0</result_rows><read_rows>0</read_rows><execution_time>0</execution_time></interval>
</default></quotas></yandex>"""
_OLD_NAMES = {"distributed_foreground_insert": "insert_distributed_sync"}
_NOT_SETTINGS = {"query", "database", "default_format", "compress", "decompress", "query_id", "session_id"}
_CODEC = re.compile(r" CODEC\((?:[^()]|\([^()]*\))*\)")
_LOW_CARDINALITY = re.compile(r"LowCardinality\((\w+)\)")
_INDEX = re.compile(r", INDEX \w+ \w+ TYPE \w+ GRANULARITY \d+")


@contextlib.contextmanager
def two_shards(folder: Path) -> Iterator[list[str]]:
    """Run the cluster; yield the addresses of both servers."""
    require("zooinspector")  # comes with ZooKeeper, which is no program
    java, server = require("java"), require("clickhouse-server")
    zookeeper, ports = free_port(), [(free_port(), free_port(), free_port()) for _ in range(2)]
    (folder / "zoo.cfg").write_text(
        f"tickTime=500\ndataDir={folder}/zookeeper\nclientPort={zookeeper}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\n"
    )
    (folder / "log4j.properties").write_text("log4j.rootLogger=OFF\n")
    jars = [path for pattern in _JARS for path in glob.glob(f"/usr/share/java/{pattern}.jar")]
    with contextlib.ExitStack() as stack:
        classes = ":".join([str(folder), *jars])
        command = [java, "-Xmx128m", "-cp", classes, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
        stack.enter_context(running([*command, str(folder / "zoo.cfg")], folder / "zookeeper.log"))
        # This version answers without it, and crashes at the first statement ON CLUSTER.
        wait_for_port(zookeeper, folder / "zookeeper.log")
        shards = "".join(_SHARD.format(tcp) for _, tcp, _ in ports)
        for number, (http, tcp, interserver) in enumerate(ports, start=1):
            own = folder / f"server-{number}"
            own.mkdir()
            (own / "users.xml").write_text(_USERS)
            (own / "config.xml").write_text(
                _SERVER.format(
                    http=http, tcp=tcp, interserver=interserver, folder=own, name=NAME, shards=shards, shard=number,
                    zookeeper=zookeeper,
                )
            )  # fmt: skip
            stack.enter_context(running([server, f"--config-file={own}/config.xml"], own / "log"))
        addresses = [f"http://127.0.0.1:{http}" for http, _, _ in ports]
        for number, address in enumerate(addresses, start=1):
            wait_for(f"{address}/ping", folder / f"server-{number}" / "log")
        yield addresses


@contextlib.asynccontextmanager
async def speaking_for(addresses: list[str]) -> AsyncIterator[int]:
    """Serve what present clients send to the first server; yield the port."""
    first = addresses[0]
    known = set((await ask(first, "SELECT name FROM system.settings")).split())

    async def pass_on(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "lz4":
            body = lz4.frame.decompress(body)
        parameters = {_OLD_NAMES.get(name, name): value for name, value in request.query.items()}
        parameters = {name: value for name, value in parameters.items() if name in _NOT_SETTINGS | known}
        if b"system.settings" in body:  # of the client's greeting; the old table lacks the column
            body = b"SELECT 'readonly' AS name, '0' AS value, toUInt8(0) AS readonly FORMAT Native"
        if b" MATERIALIZED " in body:
            return web.Response()
        if body.startswith((b"CREATE", b"ALTER")):
            body = _LOW_CARDINALITY.sub(r"\1", _INDEX.sub("", _CODEC.sub("", body.decode()))).encode()
        body = body.replace(b"clusterAllReplicas(", b"cluster(")
        headers = {"Content-Type": request.content_type}
        async with ClientSession() as session:
            async with session.post(first, params=parameters, data=body, headers=headers) as response:
                answer, status = await response.read(), response.status
            if body.startswith(b"ALTER"):
                await _wait_for_mutations(session, addresses)
        code = answer.decode(errors="replace").partition("Code: ")[2].partition(",")[0] if status != 200 else ""
        return web.Response(body=answer, status=status, headers={"X-ClickHouse-Exception-Code": code} if code else {})

    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/", pass_on)
    runner, port = web.AppRunner(application), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def ask(address: str, statement: str) -> str:
    """Ask a server without the proxy."""
    async with httpx.AsyncClient() as client:
        return (await client.post(address, content=statement)).text


async def _wait_for_mutations(session: ClientSession, addresses: list[str]) -> None:
    """Wait as ``mutations_sync`` lets a present server do."""
    for address in addresses:
        pending = "1"
        while pending != "0":
            await asyncio.sleep(0.02)
            async with session.post(address, data="SELECT count() FROM system.mutations WHERE NOT is_done") as response:
                pending = (await response.text()).strip()
