"""Stand-ins for a machine with two GPUs: an nvidia-smi, and a Python with a torch that takes memory of nothing.

With them these tests are run where there is no GPU, so that they do not rot; what they prove of CUDA is nothing then.
Each process that "computes" tells in a file named after it which device it uses, and how many MiB of it.
"""

import os
import subprocess
import sys
from pathlib import Path

TORCH = """
import os
from . import cuda
uint8 = "uint8"

class OutOfMemoryError(RuntimeError):
    pass

class Tensor:
    def __init__(self, count, size):
        self.count, self.bytes, self.value = count, count * size, 1.0
        cuda.take(self.bytes)

    def __del__(self):
        cuda.take(-self.bytes)

    def __imul__(self, factor):
        self.value *= factor
        return self

    def __getitem__(self, place):
        return self.value

    def sum(self):
        return self.value * self.count

    def mean(self):
        return self.value

def ones(count, device):
    return Tensor(count, 4)

def empty(count, dtype, device):
    return Tensor(count, 1)
"""
CUDA = """
import os, types
MEMORY = 23 << 30
now = peak = 0

def take(size):
    global now, peak
    if now + size > MEMORY:
        import torch
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1024.00 MiB.")
    now += size
    peak = max(peak, now)
    device = visible()[0]
    with open(f"{FOLDER}/{os.getpid()}", "w") as file:
        file.write(f"{device if device.startswith('GPU-') else 'GPU-0'} {(now >> 20) + 300}")

def visible():
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")

def is_available():
    return True

def is_initialized():
    return peak > 0

def device_count():
    return len(visible())

def get_device_name(place):
    return "NVIDIA A10"

def get_device_properties(place):
    return types.SimpleNamespace(total_memory=MEMORY)

def synchronize():
    pass

def max_memory_reserved(place):
    return 0 if place else peak
"""
SMI = """
import datetime, pathlib, sys, time

def used():
    for path in pathlib.Path(FOLDER).iterdir():
        try:
            state = open(f"/proc/{path.name}/stat").read().rpartition(")")[2].split()[0]
            if state != "Z":
                device, mib = path.read_text().split()
                yield device, path.name, int(mib)
        except (OSError, ValueError):
            pass  # it ended, or is just writing

def gpus():
    for place in (0, 1):
        mib = 4 + sum(mib for device, _, mib in used() if device == f"GPU-{place}")
        yield dict(zip(GPU, (place, f"GPU-{place}", "NVIDIA A10", 24576, mib, 7, "570.1")))

def apps():
    now = datetime.datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
    for device, pid, mib in used():
        yield {"timestamp": now, "gpu_uuid": device, "pid": pid, "process_name": "python", "used_memory": mib}

GPU = ("index", "uuid", "name", "memory.total", "memory.used", "utilization.gpu", "driver_version")
options = dict(one.lstrip("-").partition("=")[::2] for one in sys.argv[1:])
asked, rows = (options["query-gpu"], gpus) if "query-gpu" in options else (options["query-compute-apps"], apps)
while True:
    for row in rows():
        print(", ".join(str(row[name]) for name in asked.split(",")), flush=True)
    if "loop" not in options:
        break
    time.sleep(float(options["loop"]))
"""


def make(folder):
    """The variables with which the tests of this folder meet the stand-ins, which are put into `folder`."""
    used, programs = folder / "used", folder / "bin"
    used.mkdir()
    programs.mkdir()
    said = f"FOLDER = {str(used)!r}\n"
    (folder / "smi.py").write_text(said + SMI)
    smi = programs / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{folder}/smi.py" "$@"\n')
    smi.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = folder.glob("venv/lib/python3*/site-packages")
    (packages / "torch").mkdir()
    (packages / "torch" / "__init__.py").write_text(TORCH)
    (packages / "torch" / "cuda.py").write_text(said + CUDA)
    python = str(Path(folder / "venv" / "bin" / "python"))
    return {"PATH": f"{programs}:{os.environ['PATH']}", "DRAWBAR_GPU_PYTHON": python}
