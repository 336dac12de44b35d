"""Runs an image's file system as an engine would with ``--read-only --user`` and no capabilities, and uses the service.

Usage: run_image.py ROOT CONFIG, where ROOT is the mounted file system and CONFIG what `buildah inspect` says of it.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

# In a mount namespace: the image is read-only, /tmp in memory, only /data is persistent.
ENTER = """
mount --bind {root} {root}
mount --bind {data} {root}/data
mount -t tmpfs -o size=16m tmpfs {root}/tmp
mount --rbind /dev {root}/dev
mount -o remount,bind,ro {root}
exec chroot {root} /usr/bin/setpriv --reuid={user} --regid={group} --clear-groups --bounding-set=-all --inh-caps=-all \
  --no-new-privs -- {command}
"""


class Image:
    def __init__(self, root: Path, config: dict[str, object], data: Path) -> None:
        self._root = root
        self._config = config
        self._data = data
        self._user, self._group = str(config["User"]).split(":")
        os.chown(data, int(self._user), int(self._group))

    def start(self, *command: str, **pipes: int) -> subprocess.Popen[bytes]:
        script = ENTER.format(
            root=shlex.quote(str(self._root)),
            data=shlex.quote(str(self._data)),
            user=self._user,
            group=self._group,
            command=shlex.join(command),
        )
        variables = dict(variable.split("=", 1) for variable in self._config["Env"])
        # In a process namespace, too: the service is process 1, as in a container.
        isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        return subprocess.Popen([*isolate, "sh", "-euc", script], env={**variables, "TERM": "dumb"}, **pipes)

    def run(self, *command: str) -> tuple[int, str]:
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()


def main(root: str, config_file: str) -> None:
    config = json.loads(Path(config_file).read_text())["Docker"]["config"]
    assert config["User"] == "10001:10001", config["User"]
    assert config["Entrypoint"] == ["abacus"], config["Entrypoint"]
    assert config["Healthcheck"]["Test"][0] == "CMD", config["Healthcheck"]  # CMD-SHELL would need a shell
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        try_out(Image(Path(root), config, data), config, size_of(Path(root)))


def try_out(image: Image, config: dict[str, object], size: int) -> None:
    asked = "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.statvfs('/').f_flag & os.ST_RDONLY)"
    code, said = image.run("python", "-c", asked)
    assert (code, said.strip()) == (0, f"10001 10001 [] {os.ST_RDONLY}"), said

    code, said = image.run("abacus", "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    assert code == 0, said
    project = json.loads(said.splitlines()[-1])

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    # As in the image, but only on the loopback interface.
    service = image.start(*config["Entrypoint"], "serve", "--port", str(port), stdout=subprocess.DEVNULL)
    try:
        wait_for(f"{address}/_readyz")
        start_seconds = time.monotonic() - started
        use(address, project)
        code, said = image.run(*config["Healthcheck"]["Test"][1:], f"{address}/_livez")
        assert code == 0, said
        memory = sum(map(resident_bytes, descendants(service.pid)))
    finally:
        stop(service)
    code, said = image.run(*config["Healthcheck"]["Test"][1:], f"{address}/_livez")
    assert code == 1, said  # a stopped service is not healthy
    print(
        f"Container: built ({size / 1e6:.0f} MB with its base) and run read-only as {config['User']};"
        f" ready after {start_seconds:.1f} s, {memory / 1e6:.0f} MB of memory"
    )


def use(address: str, project: dict[str, str]) -> None:
    assert httpx.get(f"{address}/_livez").status_code == 200
    assert "First experiment" in httpx.get(f"{address}/guide/").text
    event = {"event": "visit", "distinct_id": "ann", "properties": {}}
    sent = httpx.post(f"{address}/batch/", json={"api_key": project["project_token"], "batch": [event]})
    assert (sent.status_code, sent.json()) == (200, {"status": 1}), sent.text
    listed = httpx.get(
        f"{address}/api/projects/{project['project_id']}/events/",
        headers={"Authorization": f"Bearer {project['personal_api_key']}"},
    )
    assert [one["event"] for one in listed.json()["results"]] == ["visit"], listed.text


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {url}")


def stop(service: subprocess.Popen[bytes]) -> None:
    """Send the stop signal as an engine does; process 1 has to exit by itself, with code 0."""
    for process_id in descendants(service.pid):
        os.kill(process_id, signal.SIGTERM)
    code = service.wait(timeout=30)
    assert code == 0, code


def descendants(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [one for child in children for one in (int(child), *descendants(int(child)))]


def resident_bytes(process_id: int) -> int:
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def size_of(root: Path) -> int:
    kilobytes = subprocess.run(["du", "--summarize", "--one-file-system", "-k", root], capture_output=True, check=True)
    return int(kilobytes.stdout.split()[0]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
