"""The device memory of a job as torch counts it, with a stand-in for torch: no GPU is needed."""

import sys

PEAK = 3 << 30


def uses_torch(initialized, peak, *, fails=False):
    """A job whose process has such a torch."""

    def use():
        import sys
        import types

        def reserved(device):
            if fails:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return peak

        cuda = types.SimpleNamespace(
            is_initialized=lambda: initialized, device_count=lambda: 2, max_memory_reserved=reserved
        )
        sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)

    return use


def peak_of(outcome):
    """What the outcome says, of a job that succeeded."""
    assert outcome["state"] == "succeeded", outcome
    return outcome["costs"]["peak_device_memory"]


def test_a_peak_between_two_looks_of_nvidia_smi_is_told_by_torch(peer):
    """A job of a second would seem to have used no GPU memory, and the next would be given too small a share."""
    outcome, _, _ = peer.run(uses_torch(True, PEAK))
    assert peak_of(outcome) == 2 * PEAK, "the sum over its devices"


def test_torch_without_cuda_holds_nothing(peer):
    """Asking a torch that never used a GPU would make a context, and take hundreds of megabytes of it."""
    outcome, _, _ = peer.run(uses_torch(False, PEAK))
    assert peak_of(outcome) == 0


def test_a_torch_that_cannot_say_costs_nobody_the_value(peer):
    """A driver in a bad state after the function returned would turn its value into a failure."""
    outcome, _, _ = peer.run(uses_torch(True, PEAK, fails=True))
    assert peak_of(outcome) == 0


def test_the_worker_never_loads_torch(peer):
    """Every small job would take seconds for a figure that it does not have."""
    outcome, _, _ = peer.run(lambda: None)
    assert peak_of(outcome) == 0
    outcome, _, _ = peer.run(lambda: "torch" in __import__("sys").modules)
    assert peer.value(outcome) is False
    assert "torch" not in sys.modules
