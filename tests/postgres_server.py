"""Starts a real PostgreSQL on loopback for a test run, and makes a fresh database for each test that wants one."""

import atexit
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import cache
from itertools import count

import pytest
from ports import free_port

_numbers = count()


def _programs() -> str | None:
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    found = [*folders, os.path.dirname(shutil.which("initdb") or "")]
    return next((folder for folder in reversed(found) if all(os.path.exists(f"{folder}/{name}") for name in ("initdb", "pg_ctl", "createdb"))), None)


def _unprivileged() -> dict:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        return {"user": "nobody"}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Server:
    """One cluster without care for its data; `stop` and `start` keep it."""

    def __init__(self, programs: str) -> None:
        self.programs = programs
        self.folder = tempfile.mkdtemp(prefix="gateway-postgres-")
        self._run_as = _unprivileged()
        if self._run_as:
            shutil.chown(self.folder, self._run_as["user"], self._run_as.get("group"))
        self.port = free_port()
        self._call("initdb", "-D", f"{self.folder}/data", "-U", "gateway", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "30", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop", check=False)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of a database with nothing in it."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "gateway", name)
        return self.url(name)

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [f"{self.programs}/{program}", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT, cwd="/", timeout=180, **self._run_as,
        )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {(done.stdout or b'').decode()}")


@cache
def _shared() -> Server | None:
    programs = _programs()
    if programs is None:
        return None
    server = Server(programs)
    atexit.register(server.remove)
    return server


def postgres() -> Server:
    """The test run's server, started when it is first asked for."""
    server = _shared()
    if server is None:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
    return server


def wait_until(condition, seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)
