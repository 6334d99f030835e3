"""asyncssh by itself, the way its own documentation uses it: run() on connections that are kept open.

Reads a call as JSON from each line of standard input and answers it with a line of JSON: an answer, or an error.
"""

import asyncio
import json
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")
import asyncssh  # noqa: E402

connections = []
channels = {}


async def open_connections(options):
    """Opens connections until there are so many, one after the other."""
    while len(connections) < options["count"]:
        connection = await asyncssh.connect(
            options["host"],
            options["port"],
            username=options["user"],
            client_keys=[options["identityFile"]],
            known_hosts=options["knownHostsFile"],
            encryption_algs=[options["cipher"]],
            agent_path=None,
            config=None,
        )
        channels[connection] = 0
        connections.append(connection)


async def run_one(load):
    connection = min(connections, key=channels.get)
    channels[connection] += 1
    try:
        done = await connection.run(load["command"], stdin=asyncssh.DEVNULL)
        if done.exit_status != 0 or done.stdout != load["expected"]:
            raise RuntimeError(f"exit {done.exit_status}: {done.stdout}{done.stderr}")
    finally:
        channels[connection] -= 1


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def load(options):
    """As closedLoop of the harness: so many commands, so many of them at any time."""
    left = iter(range(options["count"]))
    latencies = []

    async def caller():
        for _ in left:
            began = time.perf_counter()
            await run_one(options)
            latencies.append((time.perf_counter() - began) * 1000)

    cpu_before = cpu_seconds()
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(options["concurrency"])))
    seconds = time.perf_counter() - began
    latencies.sort()
    at = lambda share: latencies[min(len(latencies) - 1, int(share * len(latencies)))]  # noqa: E731
    cpu = (cpu_seconds() - cpu_before) * 1000 / options["count"]
    return {"seconds": seconds, "p50": at(0.5), "p95": at(0.95), "cpu": cpu}


METHODS = {"open": open_connections, "load": load}


async def main():
    print(json.dumps({"answer": asyncssh.__version__}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        call = json.loads(line)
        try:
            reply = {"answer": await METHODS[call["method"]](call["argument"])}
        except Exception as error:  # whatever it is, the benchmark says it
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
    for connection in connections:
        connection.close()


asyncio.run(main())
