"""Leases of GPUs: a supervisor asks for what its job needs, waits for its turn, and holds it while it lives.

The queue and its decisions are in `tickets`, the rule in `grants`, what there is to lease in `devices`; `overview`
tells a client all of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import devices as host
from . import files, grants, tickets
from .devices import Device, Sampler, impossible, parse_memory, sampler
from .tickets import GpuError

__all__ = [
    "Device",
    "GpuError",
    "Lease",
    "Sampler",
    "begin_overview",
    "devices",
    "impossible",
    "overview",
    "parse_memory",
    "sampler",
]

_PATIENCE = 0.2
_PATIENCE_AT_FIRST = 60.0
_WAKE = 8
_LINE = 200
_DAY = 86400.0


class Lease:
    """The GPUs of one job: asked for when this is made, held until `release` or the end of this process.

    `gpus` whole devices, or with `memory` a share of that many bytes on each. The process must handle SIGUSR1: it
    says that another `look` is worth while. Raises GpuError for what this host can never give, and where the file
    system of `root` has no locks; OSError where its disk is full.
    """

    def __init__(
        self,
        root: str,
        *,
        gpus: int,
        memory: int,
        declared: Sequence[str] = (),
        job: str,
        attempt: int,
        name: str,
    ) -> None:
        self._place = tickets.folder(root)
        self._declared = bool(declared)
        there = host.devices(self._place, declared)
        lacking = impossible(there, gpus, memory)
        if lacking:
            raise GpuError("The host can never meet the job.", host.wanted(gpus, memory), lacking, "ask for less")
        self._request = grants.Request(gpus, memory, there)
        told = {"job": job, "attempt": attempt, "name": name, "pid": os.getpid(), "born": tickets.born(os.getpid())}
        told.update(gpus=gpus, memory=memory, since=time.time(), devices=there)
        self._number, self._fd = tickets.take(self._place, told, _PATIENCE_AT_FIRST)
        self.devices: list[Device] = []
        self.waiting = _asked(self._request)

    def look(self) -> bool:
        """Whether the GPUs are there, from which moment on `devices` says which; else `waiting` says why not.

        Never takes longer than an nvidia-smi. Call it once a second, and after a SIGUSR1.
        """
        if self.devices or self._fd < 0:
            return bool(self.devices)
        try:
            if not self._read() and tickets.due(self._place, self._number):
                tickets.decide(self._place, _PATIENCE, self._number)
                self._read()
        except OSError as error:
            if error.errno not in files.FULL:
                raise
            self.waiting = f"{_asked(self._request)}: the host's disk is full, under {self._place}"
        return bool(self.devices)

    def variables(self) -> dict[str, str]:
        """The environment in which a program sees the leased devices and no others, numbered from 0.

        For a share DRAWBAR_GPU_MEMORY is its size in bytes: nothing but the program itself keeps to it.
        """
        ids = ",".join(device.id for device in self.devices)
        if self._declared:
            # ROCm reads both, at one level. ROCR_VISIBLE_DEVICES beside them would number the devices anew.
            names = {"CUDA_VISIBLE_DEVICES": ids, "HIP_VISIBLE_DEVICES": ids}
        else:
            names = {"CUDA_VISIBLE_DEVICES": ids, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return {**names, "DRAWBAR_GPU_MEMORY": str(self._request.memory)} if self._request.memory else names

    def release(self) -> None:
        """Give the devices back, or the place in the queue, and wake those that wait. Harmless the second time."""
        if self._fd < 0:
            return
        with suppress(OSError):
            os.unlink(tickets.ticket(self._place, self._number))
        os.close(self._fd)
        self._fd = -1
        with suppress(OSError):
            tickets.wake([one for one in tickets.last(self._place)["waiting"][:_WAKE] if one["number"] != self._number])

    def _read(self) -> bool:
        """What the last decision says of this ticket; whether it is granted."""
        last = tickets.last(self._place)
        grant = last["grants"].get(str(self._number))
        if grant is None:
            self.waiting = _reason(self._number, self._request, last)
            return False
        self.devices = [device for device in self._request.devices if device.id in grant["devices"]]
        return True


def devices(root: str, declared: Sequence[str] = ()) -> list[Device]:
    """The GPUs of this host in order: those that `declared` gives sizes of, or nvidia-smi names.

    That is asked once in a boot, and may take seconds then. Raises ValueError for a size that is none.
    """
    return host.devices(tickets.folder(root), declared)


def begin_overview(root: str, declared: Sequence[str] = ()) -> tuple[int, int]:
    """Start a child process that gives `overview` as JSON; its id, and the pipe."""
    from . import facts

    return facts.begin_with(lambda: overview(root, declared))


def overview(root: str, declared: Sequence[str] = ()) -> dict[str, Any]:
    """Every device, who holds it and who waits: the answer to GPUS.

    Sizes are bytes, `busy` per cent, times seconds since the epoch; `used` and `busy` are None where nothing tells.
    `free` is how much of a device nobody holds, a holder's `memory` 0 where it has the whole. May take seconds, and
    notices devices that came or went since the boot.
    """
    place = tickets.folder(root)
    asked = [] if declared else host.listing()
    there = host.devices(place, declared) if declared else host.keep(place, asked)
    try:
        live = tickets.decide(place, host.PATIENCE) or []
    except GpuError:
        live = []  # nothing can be leased there, so nothing is
    last = tickets.last(place)
    rows = []
    for device, told in zip(there, asked or [{} for _ in there]):
        holders = _holders(last, device)
        strangers = last["foreign"].get(device.id, [])
        held = {device.id: [one["memory"] for one in holders]} if holders else {}
        rows.append(
            {
                **device._asdict(),
                "used": told.get("used"),
                "busy": told.get("busy"),
                "driver": told.get("driver", ""),
                "free": 0 if strangers else grants.room(device, held),
                "holders": [_of(one, "job", "name", "attempt", "memory", "since", "pid") for one in holders],
                "foreign": strangers,
            }
        )
    queue = [
        {
            **_of(one.told, "job", "name", "attempt", "gpus", "memory", "since"),
            "waiting": _reason(one.number, one.request, last),
        }
        for one in live
        if str(one.number) not in last["grants"]
    ]
    return {"devices": rows, "queue": queue}


def _reason(number: int, request: grants.Request, last: dict[str, Any]) -> str:
    """Why a ticket waits, by the last decision, in one line."""
    before = sum(one["number"] < number for one in last["waiting"])
    said = _asked(request) + (f", {before} ahead in the queue" if before else "")
    able = [device for device in request.devices if device.memory >= request.memory]
    for place, device in enumerate(able):
        more = f"{': ' if not place else '; '}{_name(device)} {_use(device, last, before)}"
        rest = len(able) - place
        if len(said) + len(more) > _LINE - (len("; and 00 more") if rest > 1 else 0):
            return f"{said}; and {rest} more"[:_LINE] if place else said[:_LINE]
        said += more
    return said


def _use(device: Device, last: dict[str, Any], before: int) -> str:
    strangers = last["foreign"].get(device.id)
    if strangers:
        first, more = strangers[0], len(strangers) - 1
        others = f" and {more} more" if more else ""
        return f"is used by {first['name'] or 'a process'} (pid {first['pid']}, foreign){others}"
    holders = _holders(last, device)
    if not holders:
        return "is kept for those ahead" if before else "is kept for it"
    first, more = holders[0], len(holders) - 1
    others = f" and {more} more" if more else ""
    share = f"shared by {_owner(first)} ({host.size_text(first['memory'])})" if first["memory"] else ""
    return f"is {share or 'held by ' + _owner(first)}{others} since {_clock(first['since'])}"


def _holders(last: dict[str, Any], device: Device) -> list[dict[str, Any]]:
    return [grant for grant in last["grants"].values() if device.id in grant["devices"]]


def _owner(grant: dict[str, Any]) -> str:
    return str(grant["name"] or grant["job"])


def _name(device: Device) -> str:
    return f"GPU {device.index}" + (f" ({device.name})" if device.name else "")


def _clock(moment: float) -> str:
    """A time on the host's clock, with its zone: who reads it may be in another."""
    recent = time.time() - moment < _DAY
    return time.strftime("%H:%M %Z" if recent else "%Y-%m-%d %H:%M %Z", time.localtime(moment)).strip()


def _asked(request: grants.Request) -> str:
    return f"waiting for {host.wanted(request.gpus, request.memory)}"


def _of(told: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: told[key] for key in keys}
