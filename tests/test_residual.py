"""The residual network of the chapter: its size, and that each switch changes what it says and nothing else."""

import keras
import numpy as np
import pytest

import chapters

KINDS = keras.layers


@pytest.fixture(scope="module")
def chapter():
    return chapters.definitions("residual", only_functions=True, profile="test")


def made_of(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def weights(network):
    """Trained weights: (kernels, all else)."""
    sizes = [(len(w.shape) > 1, int(np.prod(w.shape))) for w in network.trainable_weights]
    return sum(n for kernel, n in sizes if kernel), sum(n for kernel, n in sizes if not kernel)


@pytest.mark.parametrize("size", [32, 48, 112, 180, 224])
def test_under_a_million_weights_at_every_size(chapter, size):
    assert chapter["residual_network"](size, 0.5).count_params() == 897_729 < 10**6


@pytest.mark.parametrize("switch", ["shortcuts", "normalised", "pooled"])
def test_a_switch_changes_what_it_says(chapter, switch):
    on = chapter["residual_network"](64, 0.5)
    off = chapter["residual_network"](64, 0.5, **{switch: False})
    shortcut_kernels = 32 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512
    expected = {
        KINDS.BatchNormalization: 15,
        KINDS.Add: 7,
        KINDS.MaxPooling2D: 5,
        KINDS.SeparableConv2D: 14,
        KINDS.Conv2D: 6,
    }
    assert {kind: len(made_of(on, kind)) for kind in expected} == expected
    kernels, others = weights(on)
    if switch == "shortcuts":
        expected |= {KINDS.Add: 0, KINDS.Conv2D: 1}
        kernels -= shortcut_kernels
    elif switch == "normalised":
        expected[KINDS.BatchNormalization] = 0
        channels = (
            2 * (32 + 64 + 2 * 128 + 2 * 256 + 512) + 32
        )  # a bias for each channel that a normalised convolution makes
        others = channels + 1
        assert all(layer.use_bias for layer in made_of(off, KINDS.SeparableConv2D))
    else:
        expected[KINDS.MaxPooling2D] = 0
    assert {kind: len(made_of(off, kind)) for kind in expected} == expected
    assert weights(off) == (kernels, others)
    for number in range(1, 6):
        assert on.get_layer(f"stage{number}").output.shape == off.get_layer(f"stage{number}").output.shape


@pytest.mark.parametrize("steps, warm_up", [(400, 100), (40, 100), (3, 100), (40, 0)])
def test_the_rate_rises_to_its_highest_and_falls_to_nothing(chapter, steps, warm_up):
    rate = chapter["schedule"](1e-3, steps, warm_up)
    values, rise = [float(rate(step)) for step in range(steps + 1)], min(warm_up, steps // 4)
    assert (
        max(values) == pytest.approx(1e-3)
        and int(np.argmax(values)) == rise
        and values[-1] == pytest.approx(0, abs=1e-9)
    )
    assert np.all(np.diff(values[: rise + 1]) > 0) and np.all(np.diff(values[rise:]) < 0)


def test_weights_come_back_with_the_running_means(chapter):
    """What is kept answers as the trained network does: moving means and variances are part of it."""
    rng = np.random.default_rng(0)
    photos = rng.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    network = chapter["residual_network"](32, 0.5)
    network.compile("sgd", "binary_crossentropy")
    network.fit(photos, rng.integers(0, 2, (8, 1)), epochs=3, verbose=0)
    copy = chapter["residual_network"](32, 0.5)
    copy.set_weights(network.get_weights())
    np.testing.assert_allclose(copy.predict(photos, verbose=0), network.predict(photos, verbose=0), atol=1e-6)
    moving = [w for w in network.non_trainable_weights if "moving" in w.path]
    assert len(moving) == 2 * 15 and len(network.get_weights()) == len(network.trainable_weights) + len(moving)


def test_two_looks_are_the_mean_of_photo_and_mirror_image(chapter):
    network = chapter["residual_network"](32, 0.5)
    photos = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    one, other = (network.predict(images, verbose=0).ravel() for images in (photos, photos[:, :, ::-1]))
    answers = {"names": list("abcde"), "labels": np.zeros(5, np.uint8), "probability": one}
    twice = chapter["mirrored"](network, photos, answers)
    np.testing.assert_allclose(twice["probability"], (one + other) / 2, atol=1e-5)
    assert twice["names"] == answers["names"] and answers["probability"] is one
