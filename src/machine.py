"""What this machine computes with: the backend of Keras, its processor or GPU, number formats; and what a record says of it."""

import os
import platform
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from paths import decides_nothing


@decides_nothing
def backend():
    """Name of Keras's backend: "tensorflow", "jax" or "torch". Without KERAS_BACKEND it is the one for which .venv was made."""
    made_for = Path(sys.prefix) / "backend"
    return os.environ.get("KERAS_BACKEND") or (made_for.read_text().strip() if made_for.is_file() else "tensorflow")


@decides_nothing
@lru_cache
def accelerator():
    """Name of the GPU that Keras's backend sees, or None."""
    if backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else None
    if backend() == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


@decides_nothing
@lru_cache
def processor():
    """Name of the processor and whether it multiplies bfloat16 numbers in hardware: (str, bool)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), False
    name = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "CPU")
    return name, "avx512_bf16" in text or "amx_bf16" in text


BEFORE_BFLOAT16 = ("Tesla", "NVIDIA GeForce GTX", "NVIDIA GeForce RTX 20", "NVIDIA TITAN", "Quadro")  # GPU names until 2019


@decides_nothing
def has_bfloat16():
    """Whether the GPU, or without one the processor, multiplies bfloat16 numbers in hardware."""
    if accelerator() is not None:
        return not accelerator().startswith(BEFORE_BFLOAT16)
    if backend() == "jax" and tuple(int(n) for n in version("jax").split(".")[:2]) >= (0, 11):
        return False  # on a CPU it answers not-a-number where convolutions in bfloat16 follow each other
    return processor()[1]


@decides_nothing
def provenance(**more):
    """What a number depends on: backend, device, number format, versions; ``more`` adds photos, weights, …"""
    about = {}
    if "keras" in sys.modules:  # what uses no network need not wait for it
        about = {"device": accelerator() or processor()[0], "precision": sys.modules["keras"].config.dtype_policy().name}
    names = ("keras", backend(), "numpy", "pillow") if about else ("numpy", "pillow")
    packages = {name: version(name) for name in names}
    return {
        "backend": backend(),
        "device": processor()[0],
        "precision": "float32",
        **about,
        "python": platform.python_version(),
        "versions": packages,
        **more,
    }
