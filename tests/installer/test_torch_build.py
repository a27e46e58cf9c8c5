from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.errors import SetupError
from installer.hardware import Hardware, NvidiaGpu
from installer.torch_build import VERSION, choose

LINUX = Hardware(system="Linux", machine="x86_64")
WINDOWS = Hardware(system="Windows", machine="AMD64")


def with_nvidia(
    system: str = "Linux", driver: tuple[int, ...] = (580, 95), capability: tuple[int, int] = (8, 9)
) -> Hardware:
    gpu = NvidiaGpu(name="RTX", driver=driver, capability=capability, memory_mib=24576)
    return Hardware(system=system, machine="x86_64", nvidia=gpu)


def test_linux_without_a_gpu_gets_the_cpu_build_by_its_full_name() -> None:
    build = choose(LINUX)
    assert build.requirement == f"torch=={VERSION}+cpu"
    assert build.index.endswith("/whl/cpu")
    assert not build.with_dependencies
    assert (build.device, build.why) == ("CPU", "no NVIDIA, AMD or Apple GPU was found")


@given(
    driver=st.tuples(st.integers(300, 700), st.integers(0, 99)),
    capability=st.tuples(st.integers(0, 15), st.integers(0, 9)),
)
def test_whatever_linux_has_no_requirement_can_be_met_by_another_build(
    driver: tuple[int, int], capability: tuple[int, int]
) -> None:
    build = choose(with_nvidia(driver=driver, capability=capability))
    assert "===" in build.requirement or "+" in build.requirement
    if build.backend == "cpu":
        assert build.version.endswith("+cpu")
        assert build.why


@pytest.mark.parametrize(
    ("hardware", "version", "index"),
    [
        (with_nvidia(), VERSION, ""),
        (with_nvidia(capability=(12, 0)), VERSION, ""),
        (with_nvidia(driver=(535, 1)), f"{VERSION}+cu126", "cu126"),
        (with_nvidia(capability=(6, 1)), f"{VERSION}+cu126", "cu126"),
        (with_nvidia(system="Windows"), f"{VERSION}+cu130", "cu130"),
    ],
)
def test_nvidia_gets_the_cuda_build_that_driver_and_chip_admit(
    hardware: Hardware, version: str, index: str
) -> None:
    build = choose(hardware)
    assert build.version == version
    assert build.index.rpartition("/")[2] == index
    assert build.backend == "cuda"
    assert build.with_dependencies
    assert build.device == "RTX, 24 GB"


@pytest.mark.parametrize(
    ("hardware", "why"),
    [
        (with_nvidia(driver=(470, 256)), "the NVIDIA driver is 470.256"),
        (with_nvidia(capability=(3, 5)), "too old for PyTorch"),
        (with_nvidia(capability=(12, 0), driver=(550, 1)), "needs NVIDIA driver 580 or newer"),
    ],
)
def test_an_nvidia_gpu_that_cannot_be_used_gives_the_cpu_and_says_why(
    hardware: Hardware, why: str
) -> None:
    build = choose(hardware)
    assert build.backend == "cpu"
    assert why in build.why
    with pytest.raises(SetupError, match="The CUDA build cannot be used"):
        choose(hardware, "cuda")


def test_amd_gets_rocm_on_linux_alone() -> None:
    build = choose(Hardware(system="Linux", machine="x86_64", amd="AMD GPU (gfx 110000)"))
    assert "+rocm" in build.version
    assert build.backend == "cuda"  # ROCm answers to torch.cuda


def test_apple_silicon_gets_metal_and_intel_macs_a_sentence() -> None:
    assert choose(Hardware(system="Darwin", machine="arm64")).backend == "mps"
    with pytest.raises(SetupError, match="Intel"):
        choose(Hardware(system="Darwin", machine="x86_64"))


def test_a_streaming_pc_with_a_remote_worker_needs_no_torch_even_on_an_intel_mac() -> None:
    assert choose(LINUX, "none").requirement == ""
    assert choose(Hardware(system="Darwin", machine="x86_64"), "none").requirement == ""


def test_what_was_asked_for_is_had_or_refused() -> None:
    assert choose(with_nvidia(), "cpu").version == f"{VERSION}+cpu"
    assert choose(WINDOWS, "cpu").requirement == f"torch==={VERSION}"
    with pytest.raises(SetupError, match="no NVIDIA GPU was found"):
        choose(LINUX, "cuda")
    with pytest.raises(SetupError, match="no AMD GPU"):
        choose(LINUX, "rocm")
    with pytest.raises(SetupError, match="macOS"):
        choose(Hardware(system="Darwin", machine="arm64"), "cuda")
