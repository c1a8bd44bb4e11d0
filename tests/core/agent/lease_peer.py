"""Real processes that lease GPUs, for tests: one that holds a lease, and a client that starts many jobs.

    python lease_peer.py hold   ROOT WANTED              says what it has, holds it until stdin ends
    python lease_peer.py client ROOT WANTED LOG SECONDS  one process for each job in WANTED["jobs"], all at once
    python lease_peer.py chaos  ROOT WANTED LOG KILLS    processes that lease over and over, killed at random moments

WANTED is JSON: gpus, memory, declared, name; `pause` is for how many seconds it waits without a signal, with
`daemon` it leaves a process behind.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time

from drawbar.agent import gpus, tickets


class Holder:
    """A process of its own that asks for a lease."""

    def __init__(self, root, **wanted):
        wanted = {"gpus": 1, "memory": 0, "declared": [], "name": "site/train", "job": os.urandom(4).hex(), **wanted}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "hold", str(root), json.dumps(wanted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.heard = b""
        self.pid = self.process.pid
        self.number = self.hear("number")["number"]

    def hear(self, kind, seconds=60.0):
        """The next line of that kind; the others are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" not in self.heard:
                left = max(0.0, deadline - time.monotonic())
                assert select.select([self.process.stdout], [], [], left)[0], f"no {kind} came"
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                assert data, f"it ended before it said {kind}"
                self.heard += data
            line, _, self.heard = self.heard.partition(b"\n")
            said = json.loads(line)
            if kind in said:
                return said

    def granted(self):
        """What it was granted, once it is: `granted` ids, `variables`."""
        return self.hear("granted")

    def kill(self):
        self.process.kill()
        self.end()

    def end(self):
        """Let it release and end."""
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def lease_of(root, wanted, attempt=1):
    """A lease, and a pipe that becomes readable when its process is woken."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    keys = ("gpus", "memory", "declared", "job", "name")
    return gpus.Lease(root, attempt=attempt, **{key: wanted[key] for key in keys}), reader


def wait_for(lease, wake, told=lambda _: None, *others, pause=1.0):
    """Look until it is granted; False where one of `others` became readable first."""
    said = ""
    while not lease.look():
        if lease.waiting != said:
            said = lease.waiting
            told(said)
        ready = select.select([wake, *others], [], [], pause)[0]
        if wake in ready:
            os.read(wake, 100)
        elif ready:
            return False
    return True


def say(**told):
    print(json.dumps(told), flush=True)


def hold(root, wanted):
    lease, wake = lease_of(root, wanted)
    say(number=lease._number)
    if wait_for(lease, wake, lambda text: say(waiting=text), 0, pause=wanted.get("pause", 1.0)):
        if wanted.get("daemon"):
            say(daemon=subprocess.Popen(["sleep", "600"], close_fds=False, start_new_session=True).pid)
        say(granted=[device.id for device in lease.devices], variables=lease.variables())
        sys.stdin.read()
    lease.release()


def client(root, wanted, log, seconds):
    """Start all jobs, each in a process of its own, and wait for them; what happened goes to `log`, a line each."""
    sink = os.open(log, os.O_WRONLY | os.O_APPEND)
    for place, one in enumerate(wanted["jobs"]):
        if not os.fork():
            try:
                job(root, {**wanted, **one, "job": f"{os.getpid()}-{place}"}, sink, seconds)
            finally:
                os._exit(0)
    failed = 0
    for _ in wanted["jobs"]:
        failed += os.wait()[1] != 0
    sys.exit(failed)


def job(root, wanted, sink, seconds):
    lease, wake = lease_of(root, wanted)
    wait_for(lease, wake)
    got = time.monotonic()
    since = tickets.last(lease._place)["grants"][str(lease._number)]["since"]
    time.sleep(seconds)
    gave = time.monotonic()
    lease.release()
    line = {"number": lease._number, "gpus": wanted["gpus"], "memory": wanted["memory"], "since": since}
    line.update(devices=[device.id for device in lease.devices], got=got, gave=gave)
    os.write(sink, json.dumps(line).encode() + b"\n")


def chaos(root, wanted, log, kills):
    """Keep four jobs going, and kill one after the other; a killed job's line is written here, when it is killed."""
    tickets._EVERY = 0.02  # a killed holder is found soon, so that many can be killed
    sink = os.open(log, os.O_WRONLY | os.O_APPEND)
    generator, running = random.Random(3), {}
    for place in range(kills + 4):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reader)
                lease_for_ever(root, {**wanted, **generator.choice(wanted["jobs"]), "job": str(place)}, writer, sink)
            finally:
                os._exit(0)
        os.close(writer)
        running[pid] = reader
        if len(running) == 4:
            time.sleep(generator.random() * 0.03)
            victim = generator.choice(sorted(running))
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            left = read_all(running.pop(victim)).splitlines()
            held = json.loads(left[-1]) if left else {}
            if "got" in held:
                os.write(sink, json.dumps({**held, "gave": killed, "killed": True}).encode() + b"\n")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def lease_for_ever(root, wanted, state, sink):
    """Take, hold and release. `state` hears what is held now, so that whoever kills this knows."""
    while True:
        lease, wake = lease_of(root, wanted)
        wait_for(lease, wake, pause=0.02)
        line = {"number": lease._number, "memory": wanted["memory"], "devices": [one.id for one in lease.devices]}
        line["got"] = time.monotonic()
        os.write(state, json.dumps(line).encode() + b"\n")
        time.sleep(random.random() * 0.01)
        gave = time.monotonic()
        os.write(state, b"{}\n")
        lease.release()
        os.write(sink, json.dumps({**line, "gave": gave}).encode() + b"\n")
        os.close(wake)


def read_all(pipe):
    with open(pipe, "rb") as file:
        return file.read()


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(sys.argv[2], json.loads(sys.argv[3]))
    elif sys.argv[1] == "chaos":
        chaos(sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        client(sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
