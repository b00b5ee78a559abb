"""The random changes of training photos, and the report's RMSprop."""

import time

import numpy as np
import pytest

SIZE = (24, 30)  # not square: height and width must not be confused


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (5, 6, 8, 3)).astype(np.float32)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : SIZE[0], : SIZE[1]]


def keras_layers():
    """Keras's layer for each change, parameters for it, and the same change as our matrix."""
    import keras

    import augment

    border = {"fill_mode": "nearest", "dtype": "float32"}
    share = np.array([-0.2, -0.05, 0.0, 0.1, 0.2], np.float32)
    column = share[:, None]
    flipped = np.array([True, False, True, True, False])
    turn = keras.layers.RandomRotation(40 / 360, **border)
    angle = keras.ops.convert_to_tensor(share * 200)
    zeros, ones = np.zeros(5, np.float32), np.ones(5, np.float32)
    rotation = turn._compute_affine_matrix(0.5, 0.5, angle, zeros, zeros, ones, zeros, zeros, *SIZE)
    return {
        "flip": (
            keras.layers.RandomFlip("horizontal", dtype="float32"),
            {"flips": flipped[:, None, None, None], "input_shape": (5, *SIZE, 3)},
            augment.flip_matrix(flipped, SIZE[1]),
        ),
        "rotation": (turn, {"rotation_matrix": rotation}, augment.rotation_matrix(share * 200, *SIZE)),
        "shift": (
            keras.layers.RandomTranslation(0.2, 0.2, **border),
            {"translations": np.concatenate([column * SIZE[1], -column * SIZE[0]], axis=1)},
            augment.shift_matrix(share * SIZE[1], -share * SIZE[0]),
        ),
        "shear": (
            keras.layers.RandomShear(0.2, 0.2, **border),
            {"shear_factor": np.concatenate([column, column / 2], axis=1)},
            augment.shear_matrix(share, share / 2),
        ),
        "zoom": (
            keras.layers.RandomZoom(0.2, **border),
            {"height_zoom": 1 + column, "width_zoom": 1 + column, "input_shape": (5, *SIZE, 3)},
            augment.zoom_matrix(1 + share, *SIZE),
        ),
    }


@pytest.mark.parametrize("change", ["flip", "rotation", "shift", "shear", "zoom"])
def test_each_change_equals_kerass_layer(change, images):
    import augment

    layer, parameters, matrices = keras_layers()[change]
    expected = np.asarray(layer.transform_images(images, parameters))
    found = np.asarray(augment.warp(images, matrices))
    assert np.abs(found - images).max() > 10  # something was changed
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_all_changes_are_one_warp_by_the_product(images):
    import keras

    import augment

    matrices = [matrix for _, _, matrix in keras_layers().values()]
    product = np.asarray(matrices[0], np.float64)
    for matrix in matrices[1:]:
        product = product @ np.asarray(matrix, np.float64)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    expected = np.empty_like(images)
    for n in range(len(images)):  # bilinear interpolation by its definition
        u, v, _ = np.einsum("ij,jyx->iyx", product[n], np.stack([x, y, np.ones_like(x)]))
        u, v = u.clip(0, SIZE[1] - 1), v.clip(0, SIZE[0] - 1)
        left, top = np.floor(u).astype(int), np.floor(v).astype(int)
        right, low = np.minimum(left + 1, SIZE[1] - 1), np.minimum(top + 1, SIZE[0] - 1)
        a, b = (u - left)[..., None], (v - top)[..., None]
        picture = images[n]
        upper = (1 - a) * picture[top, left] + a * picture[top, right]
        lower = (1 - a) * picture[low, left] + a * picture[low, right]
        expected[n] = (1 - b) * upper + b * lower
    ours = matrices[0] @ matrices[1] @ matrices[2] @ matrices[3] @ matrices[4]
    np.testing.assert_allclose(np.asarray(ours), product, rtol=1e-4, atol=1e-4)
    found = np.asarray(augment.warp(keras.ops.convert_to_tensor(images), ours))
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_warp_equals_kerass_affine_transform(images):
    import keras

    import augment

    matrices = augment.RandomWarp(seed=1).draw(len(images), *SIZE)
    flat = keras.ops.reshape(matrices, (-1, 9))[:, :8]
    expected = keras.ops.image.affine_transform(images, flat, interpolation="bilinear", fill_mode="nearest")
    np.testing.assert_allclose(np.asarray(augment.warp(images, matrices)), np.asarray(expected), atol=0.05)
    whole = images.astype(np.uint8)
    same = np.asarray(augment.warp(whole.astype(np.float32), matrices))
    np.testing.assert_allclose(np.asarray(augment.warp(whole, matrices)), same, atol=1e-3)


def test_changes_act_in_training_only_and_are_repeatable():
    import augment

    photos = np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), np.uint8)
    unchanged = np.asarray(augment.RandomWarp(seed=3)(photos, training=False))
    assert unchanged.dtype == np.float32 and (unchanged == photos).all()
    first, again, other = (np.asarray(augment.RandomWarp(seed=s)(photos, training=True)) for s in (3, 3, 4))
    assert (first == again).all() and (first != other).any()
    assert first.dtype == np.float32 and first.shape == photos.shape
    assert first.min() >= 0 and first.max() <= 255
    layer = augment.RandomWarp(seed=3)
    copy = augment.RandomWarp.from_config(layer.get_config())
    assert (np.asarray(copy(photos, training=True)) == first).all()
    assert (np.asarray(layer(photos, training=True)) != np.asarray(layer(photos, training=True))).any()


def test_strengths_bound_the_changes():
    import augment

    still = augment.RandomWarp(rotation=0, shift=0, shear=0, zoom=0, flip=False)
    np.testing.assert_allclose(np.asarray(still.draw(3, 20, 30)), np.stack([np.eye(3)] * 3), atol=1e-5)
    flips = augment.RandomWarp(rotation=0, shift=0, shear=0, zoom=0)
    assert 0.4 < np.mean(np.asarray(flips.draw(1000, 20, 30))[:, 0, 0] < 0) < 0.6
    shift = np.asarray(augment.RandomWarp(rotation=0, shift=0.2, shear=0, zoom=0, flip=False).draw(1000, 20, 30))
    assert 5.5 < np.abs(shift[:, 0, 2]).max() <= 6 and 3.5 < np.abs(shift[:, 1, 2]).max() <= 4
    zoom = np.asarray(augment.RandomWarp(rotation=0, shift=0, shear=0, zoom=(0.6, 1.1), flip=False).draw(1000, 20, 30))
    assert 0.6 <= zoom[:, 0, 0].min() < 0.62 and 1.08 < zoom[:, 0, 0].max() <= 1.1
    shear = np.asarray(augment.RandomWarp(rotation=0, shift=0, shear=0.2, zoom=0, flip=False).draw(1000, 20, 30))
    assert 0.19 < np.abs(shear[:, 0, 1]).max() <= 0.2 and 0.19 < np.abs(shear[:, 1, 0]).max() <= 0.2
    roaming = augment.RandomWarp(rotation=0, shift=0, shear=0, zoom=(0.5, 1), roam=True, flip=False)
    corners = np.asarray(roaming.draw(1000, 21, 31)) @ np.array([[0, 30], [0, 20], [1, 1]], np.float32)
    assert corners[:, 0].min() > -1 and corners[:, 0].max() < 31  # what is shown lies within the photo


def test_colours_stay_in_range_and_change_alike_everywhere():
    import augment

    grey = np.full((50, 8, 8, 3), 128, np.uint8)
    layer = augment.RandomWarp(
        rotation=0, shift=0, shear=0, zoom=0, flip=False, brightness=0.2, contrast=0.3, saturation=0.3
    )
    lit = np.asarray(layer(grey, training=True))
    assert np.ptp(lit, axis=(1, 2, 3)).max() < 1e-3  # one grey stays one grey
    assert 40 < np.ptp(lit[:, 0, 0, 0]) <= 0.4 * 255 + 1
    noise = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    lit = np.asarray(layer(noise, training=True))
    assert lit.min() >= 0 and lit.max() <= 255


def test_one_warp_is_faster_than_five_layers():
    import keras
    import tensorflow as tf

    import augment

    photos = tf.constant(np.random.default_rng(0).integers(0, 256, (20, 150, 150, 3)), tf.uint8)
    border = {"fill_mode": "nearest", "dtype": "float32"}
    row = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", dtype="float32"),
            keras.layers.RandomRotation(40 / 360, **border),
            keras.layers.RandomTranslation(0.2, 0.2, **border),
            keras.layers.RandomShear(0.2, 0.2, **border),
            keras.layers.RandomZoom(0.2, **border),
        ]
    )

    def seconds(layer):
        graph = tf.function(lambda batch: layer(batch, training=True))
        graph(photos)  # compiles
        times = []
        for _ in range(15):
            started = time.perf_counter()
            graph(photos).numpy()
            times.append(time.perf_counter() - started)
        return min(times)

    row_seconds, warp_seconds = seconds(row), seconds(augment.RandomWarp())
    print(f"five layers {1000 * row_seconds:.1f} ms, one warp {1000 * warp_seconds:.1f} ms")
    assert row_seconds > 4 * warp_seconds


def test_report_rmsprop_has_epsilon_outside_the_root():
    import keras

    import augment

    start, rate, rho, epsilon = np.array([1.0, -2.0, 0.5], np.float32), 0.01, 0.9, 1e-7
    gradients = [np.array([1e-5, 0.3, -1e-8], np.float32), np.array([-2e-6, 0.1, 3e-8], np.float32)]
    weights, velocity = start.astype(np.float64), np.zeros(3)
    for gradient in gradients:
        velocity = rho * velocity + (1 - rho) * gradient.astype(np.float64) ** 2
        weights -= rate * gradient / (np.sqrt(velocity) + epsilon)
    variable = keras.Variable(start)
    optimizer = augment.ReportRMSprop(rate, rho=rho, epsilon=epsilon)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(np.asarray(variable.value), weights, rtol=1e-5)
    theirs = keras.Variable(start)
    optimizer = keras.optimizers.RMSprop(rate, rho=rho, epsilon=epsilon)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
    moved = np.abs(np.asarray(theirs.value) - start)
    assert moved[0] < np.abs(weights - start)[0] / 5  # Keras 3 hardly moves where gradients are small
