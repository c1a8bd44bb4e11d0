"""What the tests run on a GPU: functions of a user's module, so that any Python of the machine can run them."""

import os
import sys
import time
from pathlib import Path

NAMES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "DRAWBAR_GPU_MEMORY")


def variables():
    """What a lease says to a program."""
    return {name: os.environ.get(name, "") for name in NAMES}


def hold(seconds):
    """Which devices it had, from when, until when."""
    began = time.time()
    time.sleep(seconds)
    return os.environ["CUDA_VISIBLE_DEVICES"], began, time.time()


def meet(mine, others, seconds):
    """Whether the other came while this one was there."""
    Path(mine).touch()
    end = time.monotonic() + seconds
    while not Path(others).exists():
        if time.monotonic() > end:
            return ""
        time.sleep(0.02)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def stay(path):
    """Tell the process id, and stay."""
    _tell(path)
    time.sleep(600)


def sees():
    """How many devices torch sees, the first one's name, and its memory in bytes."""
    import torch

    return torch.cuda.device_count(), torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory


def fill(mib):
    """That many MiB of ones, summed on the device."""
    import torch

    return float(torch.ones(mib << 18, device="cuda").sum())


def fill_and_stay(mib, path):
    """The same, and keep it."""
    import torch

    kept = torch.ones(mib << 18, device="cuda")
    torch.cuda.synchronize()
    _tell(path)
    time.sleep(600)
    return float(kept[0])


def fill_all():
    """More than there is."""
    import torch

    kept = []
    while True:
        kept.append(torch.empty(1 << 30, dtype=torch.uint8, device="cuda"))


def loaded_before():
    """Whether torch was loaded before this job; it computes in any case."""
    before = "torch" in sys.modules
    return before, fill(1) == float(1 << 18)


class Model:
    """Weights that stay on the device between calls."""

    def __init__(self, mib):
        import torch

        self._weights = torch.ones(mib << 18, device="cuda")

    def scaled(self, factor):
        """Computed there."""
        self._weights *= factor
        return float(self._weights.mean())


def _tell(path):
    Path(f"{path}.new").write_text(str(os.getpid()))
    Path(f"{path}.new").rename(path)
