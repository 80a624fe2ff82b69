"""Which GPUs a host has: what its driver says, or those of them that this process may see; each under one name."""

from __future__ import annotations

import pytest

from waiter.delivery.resources.detect import gpu_ids


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that knows three GPUs, as nvidia-smi prints them."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'GPU-8f1a, 0\\nGPU-77b2, 1\\nGPU-03cd, 2\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return smi


@pytest.mark.parametrize(
    ("visible", "ids"),
    [
        ({}, ("0", "1", "2")),
        ({"CUDA_VISIBLE_DEVICES": "2, 0"}, ("2", "0")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-77,GPU-03cd,1"}, ("1", "2")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"HIP_VISIBLE_DEVICES": "3"}, ("3",)),
    ],
)
def test_gpus_are_those_that_may_be_used(driver, visible, ids):
    assert gpu_ids(visible) == ids


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'No devices were found'\n"])
def test_a_driver_without_gpus_has_none(driver, text):
    driver.write_text(text)

    assert gpu_ids({}) == ()
