"""The gauge over an NVML of the test's own: no GPU is needed, and none is asked."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from brushcast_worker.gpu_gauge import GpuGauge, GpuReading

IDENTITY = "1b2c3d4e-0000-1111-2222-333344445555"


class FakeNVML:
    """pynvml, as far as it is used."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.use = 83
        self.asked: list[str] = []
        self.broken: set[str] = set()

    def _ask(self, name: str) -> None:
        if name in self.broken:
            raise self.NVMLError(f"{name}: driver gone")

    def nvmlInit(self) -> None:
        self._ask("init")

    def nvmlDeviceGetHandleByUUID(self, identity: str) -> str:
        self._ask("handle")
        self.asked.append(identity)
        return "handle"

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        assert handle == "handle"
        self._ask("use")
        return SimpleNamespace(gpu=self.use, memory=5)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self._ask("memory")
        return SimpleNamespace(used=3 << 30, total=8 << 30, free=5 << 30)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNVML:
    fake = FakeNVML()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    properties = SimpleNamespace(uuid=IDENTITY)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return fake


def test_a_gpu_tells_its_use_and_its_memory(nvml: FakeNVML) -> None:
    gauge = GpuGauge("cuda:1")
    assert gauge.read() == GpuReading(share=0.83, used_bytes=3 << 30, total_bytes=8 << 30)
    assert nvml.asked == [f"GPU-{IDENTITY}"]
    nvml.use = 100
    reading = gauge.read()
    assert reading is not None
    assert reading.share == 1.0


def test_a_part_of_a_gpu_keeps_its_own_name(
    nvml: FakeNVML, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(uuid="MIG-1")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    GpuGauge("cuda")
    assert nvml.asked == ["MIG-1"]


@pytest.mark.parametrize("device", ["cpu", "mps", "rocm"])
def test_other_devices_are_not_asked(nvml: FakeNVML, device: str) -> None:
    assert GpuGauge(device).read() is None
    assert nvml.asked == []


@pytest.mark.parametrize("broken", ["init", "handle", "use", "memory"])
def test_a_driver_that_fails_is_unknown_and_asked_no_more(nvml: FakeNVML, broken: str) -> None:
    nvml.broken = {broken}
    gauge = GpuGauge("cuda")
    assert gauge.read() is None
    nvml.broken = set()
    assert gauge.read() is None


def test_without_the_package_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuGauge("cuda").read() is None


def test_the_real_package_has_what_is_asked_of_it() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in (
        "nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo", "NVMLError",
    ):  # fmt: skip
        assert hasattr(pynvml, name), name
