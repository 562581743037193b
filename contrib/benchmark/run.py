"""Measures the gateway against a bare proxy and nginx in one interleaved run, and prints medians and ratios.

    make bench                       # or: python contrib/benchmark/run.py [--rounds 3] [--seconds 3.5] [--json FILE]

Load generator and mock upstream share one core, the subject has the other. The gateway runs with the plugins of the
example configuration (key check, limits, journal and ledger, log, metrics) and one worker; its log is at `warning`,
and the limit on requests too high to refuse any. `guarded` is the same gateway with the guardrail policy `default`, as
the example configuration has it: every request and every reply is judged. Ratios are to be trusted, absolute numbers
belong to the machine. What translation costs comes last, from `translation.py`.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import translation

HERE = Path(__file__).parent
TARGETS = {"requests, 64 connections": 0.8, "requests, 256 connections": 0.8, "streamed chunks": 0.8}

CONFIG = """
server: {{port: {port}}}
data_dir: {data}
logging: {{level: warning, format: json}}
providers:
  - name: mock
    use: provider.openai_compatible
    with: {{base_url: "http://127.0.0.1:{upstream}/v1", api_key: mock-key-mock-key}}
models:
  - {{name: bench, targets: [mock/bench]}}
prices:
  - {{model: mock/bench, input: "0.15", output: "0.60"}}
plugins:
  - use: auth.api_keys
  - use: limiter.requests
    with: {{per_key: 100000000}}
  - use: limiter.tokens
  - use: limiter.concurrency
  - use: limiter.budget
  - use: sink.ledger
  - use: sink.prometheus
  - use: sink.log
"""
GUARDED = CONFIG + "guardrails: {{policy: default}}\n"
NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 8192; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 10000000;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://mock; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; client_max_body_size 64m; }} }} }}
"""


class Subject:
    """A server under test on its own core."""

    def __init__(self, name: str, command: list[str], path: str, port: int, env: dict[str, str] | None = None) -> None:
        self.name, self.path, self.port, self.key = name, path, port, "none"
        began = time.perf_counter()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process that writes to it
        self.process = subprocess.Popen(pinned(1, command), stdout=self.log, stderr=self.log, env=env)
        wait_for(port)
        self.ready_after = time.perf_counter() - began

    def rss_mib(self) -> float:
        """Resident memory of the process and its children."""
        total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            with contextlib.suppress(OSError):
                total += int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
        return total / 1024

    def printed(self) -> str:
        """What it wrote so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def pinned(core: int, command: list[str]) -> list[str]:
    """The command bound to a core, where the machine has two and `taskset`."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") and os.cpu_count() > 1 else command


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port: int, seconds: float = 20.0) -> None:
    """Until the port accepts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.005)
    raise SystemExit(f"nothing listens on port {port}")


def gateway(directory: Path, upstream: int, name: str = "gateway", config: str = CONFIG) -> Subject:
    """The gateway with everything on, and its first key."""
    port = free_port()
    file = directory / f"{name}.yaml"
    file.write_text(config.format(port=port, data=directory / name, upstream=upstream))
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(file)]
    subject = Subject(name, command, "/api/v1/chat/completions", port)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if found := re.search(r"sk-gw-[A-Za-z0-9_-]{20,}", subject.printed()):
            subject.key = found[0]
            return subject
        time.sleep(0.05)
    raise SystemExit("the gateway printed no key:\n" + subject.printed())


def load(kind: str, subject: Subject, **options: object) -> dict[str, float]:
    """Run one load against a subject from the other core."""
    command = [sys.executable, str(HERE / "load.py"), kind, str(subject.port), subject.path, subject.key]
    out = subprocess.run(
        pinned(0, [*command, json.dumps(options)]), capture_output=True, text=True, check=False, timeout=120
    )
    if out.returncode:
        raise SystemExit(f"{kind} against {subject.name} failed:\n{out.stderr[-2000:]}\n{subject.printed()[-2000:]}")
    return json.loads(out.stdout.splitlines()[-1])


def held(subject: Subject, streams: int) -> float:
    """Resident MiB with that many open streams."""
    command = [sys.executable, str(HERE / "load.py"), "hold", str(subject.port), subject.path, subject.key]
    body = {"stream": True, "bench": {"chunks": 3, "pause_ms": 1, "hold": True}}
    options = json.dumps({"connections": streams, "body": body})
    process = subprocess.Popen(pinned(0, [*command, options]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        time.sleep(0.5)
        return subject.rss_mib()
    finally:
        process.communicate("\n", timeout=30)


def measure(subjects: list[Subject], rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Every scenario on every subject in turn, round by round."""
    results: dict[str, dict[str, list[float]]] = {}

    def note(scenario: str, subject: Subject, value: float) -> None:
        results.setdefault(scenario, {}).setdefault(subject.name, []).append(value)

    burst = {"stream": True, "stream_options": {"include_usage": True}, "bench": {"chunks": 200}}
    paced = {"stream": True, "bench": {"chunks": 5, "pause_ms": 10}}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for connections in (64, 256):
            for subject in subjects:
                found = load("closed", subject, connections=connections, seconds=seconds)
                if found["errors"]:
                    raise SystemExit(f"{subject.name} answered {found['errors']} requests with an error")
                note(f"requests, {connections} connections", subject, found["per_second"])
        for subject in subjects:
            note("streamed chunks", subject, load("streams", subject, seconds=seconds, body=burst)["chunks_per_second"])
        for subject in subjects:
            found = load("open", subject, rate=200, seconds=seconds)
            note("p50 ms at 200/s", subject, found["p50_ms"])
            note("p99 ms at 200/s", subject, found["p99_ms"])
        for subject in subjects:
            note("first token ms, p50", subject, load("first", subject, body=paced)["p50_ms"])
    return results


def report(results: dict[str, dict[str, list[float]]], subjects: list[Subject]) -> dict[str, object]:
    """Print medians, and ratios to the bare proxy."""
    heads = [subject.name for subject in subjects]
    print(f"{'scenario':28}" + "".join(f"{head:>14}" for head in [*heads, "gateway/bare", "guarded/bare"]))
    summary: dict[str, object] = {}
    for scenario, by_subject in results.items():
        medians = {name: statistics.median(values) for name, values in by_subject.items()}
        ratio, guarded = (to_bare(by_subject, name) for name in ("gateway", "guarded"))
        line = "".join(f"{medians[s.name]:>14,.2f}" if s.name in medians else f"{'-':>14}" for s in subjects)
        goal = f"  (goal {TARGETS[scenario]})" if scenario in TARGETS else ""
        print(f"{scenario:28}{line}{ratio:>14.2f}{guarded:>14.2f}{goal}")
        summary[scenario] = {**medians, "ratio": ratio, "guarded_ratio": guarded}
    direct, ours = results["p99 ms at 200/s"]["direct"], results["p99 ms at 200/s"]["gateway"]
    added = statistics.median([a - b for a, b in zip(ours, direct, strict=True)])
    print(f"{'added p99 ms at 200/s':28}{added:>16.2f}  (goal 3)")
    summary["added p99 ms at 200/s"] = added
    return summary


def to_bare(by_subject: dict[str, list[float]], name: str) -> float:
    """The median of a subject's ratios to the bare proxy, round by round."""
    pairs = zip(by_subject[name], by_subject["bare aiohttp"], strict=True)
    return statistics.median([ours / bare for ours, bare in pairs])


def main() -> None:
    """Start everything, measure, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.5)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        port = free_port()
        mock = subprocess.Popen(pinned(0, [sys.executable, str(HERE / "upstream.py"), str(port)]))
        stack.callback(mock.kill)
        wait_for(port)
        direct = Subject.__new__(Subject)
        direct.name, direct.path, direct.port, direct.key = "direct", "/v1/chat/completions", port, "none"
        subjects = [direct, *started(stack, directory, port)]
        ours = next(subject for subject in subjects if subject.name == "gateway")
        before = ours.rss_mib()
        summary = report(measure(subjects, options.rounds, options.seconds), subjects)
        memory = held(ours, options.streams)
        print(f"{'resident MiB':28}{before:>16.1f} idle, {memory:.1f} with {options.streams} open streams  (goal 150)")
        print(f"{'ready after s':28}{ours.ready_after:>16.2f}  (goal 1.5)")
        with urllib.request.urlopen(f"http://127.0.0.1:{ours.port}/metrics") as reply:
            assert b"ai_gateway_requests_total" in reply.read()
        translated = translation_costs()
        translation.report(translated)
        summary |= {"resident_mib": memory, "ready_s": ours.ready_after, "translation": translated}
        if options.json:
            options.json.write_text(json.dumps(summary, indent=1))


def translation_costs() -> dict[str, dict[str, float]]:
    """What translation costs by upstream, in a process of its own on the gateway's core."""
    command = [sys.executable, str(HERE / "translation.py"), "--json"]
    done = subprocess.run(pinned(1, command), capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def started(stack: contextlib.ExitStack, directory: Path, upstream: int) -> list[Subject]:
    """The servers to compare; the gateway comes twice, without and with guardrails."""
    subjects = []
    if shutil.which("nginx"):
        port = free_port()
        (directory / "nginx.conf").write_text(NGINX.format(dir=directory, port=port, upstream=upstream))
        command = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        subjects.append(Subject("nginx", command, "/v1/chat/completions", port))
    port = free_port()
    command = [sys.executable, str(HERE / "bare.py"), str(port), str(upstream)]
    subjects.append(Subject("bare aiohttp", command, "/v1/chat/completions", port))
    subjects.append(gateway(directory, upstream))
    subjects.append(gateway(directory, upstream, "guarded", GUARDED))
    for subject in subjects:
        stack.callback(subject.stop)
    return subjects


if __name__ == "__main__":
    main()
