"""A TCP proxy on loopback, to stand between a client and an sshd: it cuts, stalls, slows and corrupts as a test says.

Faults are set by direction (`up` is from the client) and by byte, counted from when they are set; each strikes once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_PIECE = 64 << 10
WAYS = ("up", "down")


class Proxy:
    """A context manager: listens on `port`, and passes every connection on to `to_port` of this machine.

    `passed` counts the bytes by direction, `opened` the connections; `rate` is in bytes a second for each direction of
    each connection, 0 for no limit. `struck` is set when a fault has struck.
    """

    def __init__(self, to_port):
        self.to_port = to_port
        self.rate = 0.0
        self.opened = 0
        self.passed = dict.fromkeys(WAYS, 0)
        self.struck = threading.Event()
        self._faults = []
        self._lock = threading.Lock()
        self._stalled = False
        self._resumed = threading.Event()
        self._open = set()
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self._begin(self._accept)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.resume()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def fault(self, what, way, after):
        """`cut`, `stall` or `corrupt` (one bit) the connection by which `after` more bytes have passed that way."""
        with self._lock:
            self.struck.clear()
            self._faults.append((way, self.passed[way] + after, what))

    def cut(self):
        """Break every connection, now."""
        with self._lock:
            doomed = list(self._open)
        for one in doomed:
            _shut(one)

    def stall(self):
        """Pass nothing on, either way, until `resume`; connections stay open, and new ones are taken."""
        self._stalled = True

    def resume(self):
        """No faults from here on, and what was held back goes on."""
        with self._lock:
            self._faults.clear()
            self._stalled, resumed, self._resumed = False, self._resumed, threading.Event()
        self.rate = 0.0
        resumed.set()

    def _begin(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                host = socket.create_connection(("127.0.0.1", self.to_port), timeout=10)
            except OSError:
                client.close()  # the host is away: the client sees a connection that ends at once
                continue
            host.settimeout(None)
            self.opened += 1
            with self._lock:
                self._open |= {client, host}
            for way, source, sink in (("up", client, host), ("down", host, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._begin(self._pass_on, way, source, sink)

    def _pass_on(self, way, source, sink):
        try:
            while data := source.recv(_PIECE):
                for piece, what in self._cut_up(way, data):
                    resumed = self._resumed
                    if self._stalled:
                        resumed.wait()
                    if piece:
                        sink.sendall(piece)
                        if self.rate:
                            time.sleep(len(piece) / self.rate)
                    if what == "cut":
                        return
                    if what == "stall":
                        resumed.wait()
        except OSError:
            pass
        finally:
            _shut(source)
            _shut(sink)
            with self._lock:
                self._open -= {source, sink}
            source.close()

    def _cut_up(self, way, data):
        """Pieces of `data` to be passed on, each with the fault that follows it."""
        with self._lock:
            begin = self.passed[way]
            due = [one for one in self._faults if one[0] == way and one[1] < begin + len(data)]
            self._faults = [one for one in self._faults if one not in due]
            self.passed[way] += len(data)
        pieces, at = [], 0
        for _, offset, what in sorted(due):
            place = max(0, offset - begin)
            if what == "corrupt":
                data = data[:place] + bytes([data[place] ^ 1 << offset % 8]) + data[place + 1 :]
            else:
                pieces.append((data[at:place], what))
                at = place
            self.struck.set()
        return [*pieces, (data[at:], "")]


def _shut(one):
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
