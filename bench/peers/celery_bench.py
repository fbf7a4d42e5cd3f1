"""Celery beside Tidemill: the same payload, the same Redis, one JSON line a measurement.

    python celery_bench.py <redis url> <jobs>

Its documented default set-up: one `delay` a job (there is no bulk call), the prefork pool with a process a core, messages acknowledged
before they run, results not kept. Jobs are sent first, then the worker is started. Its start takes over a second, so the clock
runs from the first job that a task sees to the last, in Celery's favour. Each task adds one to its own byte of a shared file: the
outside count.
"""

import json
import mmap
import os
import platform
import subprocess
import sys
import tempfile
import time

import celery
import redis

SEEN = "TIDEMILL_BENCH_SEEN"
URL = "TIDEMILL_BENCH_URL"
PATIENCE_SECONDS = 120

app = celery.Celery("celery_bench", broker=os.environ.get(URL))
_seen = None


@app.task
def noop(i, tenant, note):
    global _seen
    if _seen is None:
        with open(os.environ[SEEN], "r+b") as file:
            _seen = mmap.mmap(file.fileno(), 0)
    _seen[i] += 1


def durability(server, info):
    if not info["aof_enabled"]:
        return "memory"
    policy = server.config_get("appendfsync")["appendfsync"]
    return "fsync" if policy == "always" else policy


def resident_mib(pids):
    """The most that these processes held, together; pages that they share are counted in each."""
    total = 0.0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    return total


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python celery_bench.py <redis url> <jobs>")
    url, jobs = sys.argv[1], int(sys.argv[2])
    server = redis.Redis.from_url(url)
    if server.dbsize() != 0:
        sys.exit("that Redis is not empty; it must be, and it is emptied afterwards")
    info = server.info()
    common = {
        "system": "celery",
        "store": "redis",
        "jobs": jobs,
        "p50_ms": None,
        "p99_ms": None,
        "p999_ms": None,
        "rss_mib": None,
        "durability": durability(server, info),
        "lost": 0,
        "machine": "",
        "versions": f"redis {info['redis_version']}, celery {celery.__version__}, python {platform.python_version()}",
        "build": "release",
    }
    app.conf.broker_url = url

    waits = []
    begun = time.perf_counter()
    for i in range(jobs):
        called = time.perf_counter()
        noop.delay(i=i, tenant="t1", note="x" * 64)
        waits.append((time.perf_counter() - called) * 1000)
    sent = time.perf_counter() - begun
    waits.sort()
    at = lambda percent: waits[max(0, -(-len(waits) * percent // 1000) - 1)]
    enqueue = {
        "scenario": "enqueue-single",
        "per_second": jobs / sent,
        "p50_ms": at(500),
        "p99_ms": at(990),
        "p999_ms": at(999),
        "batch": 1,
        "concurrency": 1,
    }

    with tempfile.NamedTemporaryFile() as file:
        file.truncate(jobs)
        seen = mmap.mmap(file.fileno(), jobs)
        environment = {**os.environ, SEEN: file.name, URL: url}
        command = [sys.executable, "-m", "celery", "--quiet", "-A", "celery_bench", "worker", "--loglevel", "ERROR"]
        here = os.path.dirname(os.path.abspath(__file__))
        worker = subprocess.Popen(command, env=environment, cwd=here, stdout=sys.stderr)
        try:
            took, peak = drain(worker, server, seen, jobs)
        finally:
            worker.terminate()
            worker.wait()
        counted = bytes(seen)
    server.flushdb()
    lost, repeated = counted.count(0), jobs - counted.count(0) - counted.count(1)
    if lost or repeated:
        sys.exit(f"the run does not count: of {jobs} jobs {lost} never came, {repeated} came more than once")
    cores = os.cpu_count()
    print(json.dumps({**common, **enqueue}))
    drained = {"scenario": "drain", "per_second": jobs / took, "rss_mib": peak, "concurrency": cores}
    print(json.dumps({**common, **drained, "note": "prefork, from the first job seen"}))


def drain(worker, server, seen, jobs):
    """From the first byte that is set until all are and the broker holds nothing more."""
    deadline = time.perf_counter() + PATIENCE_SECONDS
    first = None
    while True:
        now = time.perf_counter()
        left = seen[:].count(0)
        if first is None and left < jobs:
            # The others that were seen by now cost it nothing; with a look every millisecond they are few.
            first = now
        if left == 0 and server.llen("celery") == 0 and server.hlen("unacked") == 0:
            return now - first, resident_mib([worker.pid, *children(worker.pid)])
        if now > deadline or worker.poll() is not None:
            sys.exit(f"celery did not get through: {left} of {jobs} jobs are left")
        time.sleep(0.001)


if __name__ == "__main__":
    main()
