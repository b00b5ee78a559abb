"""Random changes of training photos as one affine warp, and RMSprop with epsilon outside the root.

Images are RGB with values 0–255, (n, height, width, 3). A point of an image is (x, y) in pixels, (0, 0) the middle
of the upper left one.
"""

import math
from functools import cache

import keras
from keras import ops, random


class RandomWarp(keras.layers.Layer):
    """Turn, shift, shear, zoom and flip images at random, in one affine warp; acts in training only.

    Each change is a 3 × 3 matrix that says where in the image before it a point of the changed image comes from. The
    product of the matrices is the same for all of them in a row, so pixels are interpolated (bilinear) once instead
    of five times: that is faster and blurs less. What comes into view at the border repeats the nearest pixels.

    Colours can be changed too, since light is as accidental as position: brightness, contrast and saturation.

    Args:
        rotation: greatest angle in degrees, both ways.
        shift: greatest shift as a share of height and of width, both ways.
        shear: greatest shear as ``keras.layers.RandomShear`` has it: x moves by up to this share of y, and y
            by up to this share of x, both ways.
        zoom: (least, greatest) side of the part that is shown, as a share of the photo's side; below 1 enlarges.
            One number z is (1 - z, 1 + z).
        roam: whether an enlarged part may lie anywhere in the photo (added to ``shift``), or is its middle.
        flip: whether half of the images are flipped left to right.
        brightness: greatest change of all values, as a share of 255.
        contrast: greatest change of the distance from the image's mean, as a share.
        saturation: greatest change of the distance from grey, as a share.
        seed: makes the changes repeatable.

    Input: uint8 or float (n, height, width, 3), values 0–255. Output: the same shape and range, float32.

    Source of the matrices: Keras 3's RandomFlip, RandomRotation, RandomTranslation, RandomShear and RandomZoom.
    """

    def __init__(
        self, rotation=40, shift=0.2, shear=0.2, zoom=0.2, roam=False, flip=True,
        brightness=0.0, contrast=0.0, saturation=0.0, seed=0, **settings,
    ):  # fmt: skip
        settings.setdefault("dtype", "float32")  # bfloat16 has 8 bits: too few for a position in the image
        super().__init__(**settings)
        self.rotation, self.shift, self.shear, self.roam, self.flip = rotation, shift, shear, roam, flip
        self.zoom = (1 - zoom, 1 + zoom) if isinstance(zoom, int | float) else tuple(zoom)
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.seed, self.generator = seed, random.SeedGenerator(seed)

    def call(self, images, training=False):
        if not training:
            return ops.cast(images, self.compute_dtype)
        warped = warp(images, self.draw(ops.shape(images)[0], *images.shape[1:3]))
        return self.relight(warped) if self.brightness or self.contrast or self.saturation else warped

    def draw(self, count, height, width):
        """One random matrix per image, (count, 3, 3) float32."""
        u = random.uniform((count, 7), -1, 1, seed=self.generator)
        least, greatest = self.zoom
        zoom = (least + greatest) / 2 + u[:, 0] * (greatest - least) / 2
        room = self.shift + (ops.maximum(1 - zoom, 0) / 2 if self.roam else 0)
        return (
            flip_matrix(u[:, 6] > 0 if self.flip else u[:, 6] > 1, width)
            @ rotation_matrix(u[:, 3] * self.rotation, height, width)
            @ shift_matrix(u[:, 4] * room * width, u[:, 5] * room * height)
            @ shear_matrix(u[:, 1] * self.shear, u[:, 2] * self.shear)
            @ zoom_matrix(zoom, height, width)
        )

    def relight(self, images):
        """Change saturation, contrast and brightness of each image at random; values stay within 0–255."""
        u = random.uniform((ops.shape(images)[0], 3, 1, 1, 1), -1, 1, seed=self.generator)
        grey = ops.mean(images, axis=-1, keepdims=True)
        middle = ops.mean(grey, axis=(1, 2, 3), keepdims=True)
        coloured = grey + (1 + self.saturation * u[:, 0]) * (images - grey)
        light = middle + 255 * self.brightness * u[:, 2]
        return ops.clip(light + (1 + self.contrast * u[:, 1]) * (coloured - middle), 0, 255)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("rotation", "shift", "shear", "zoom", "roam", "flip", "brightness", "contrast", "saturation", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}


def warp(images, matrices):
    """Show images through affine matrices.

    Args:
        images: uint8 or float (n, height, width, channels); uint8 is the faster.
        matrices: float (n, 3, 3): point (x, y, 1) of the result comes from ``matrix @ (x, y, 1)`` of the image.

    Returns:
        float32, shaped like ``images``: what ``keras.ops.image.affine_transform(…, fill_mode="nearest")`` gives.
    """
    return compiled_bilinear()(images, matrices)


@cache
def compiled_bilinear():
    """``bilinear`` as one loop over the pixels: op by op, its intermediate arrays cost more than the arithmetic."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(bilinear, jit_compile=True, autograph=False)
    return bilinear  # JAX compiles it together with the training step


def bilinear(images, matrices):
    """The work of ``warp``: mix the four pixels around each point by how near they are."""
    height, width, channels = images.shape[1:]
    x, y = ops.arange(width, dtype="float32"), ops.arange(height, dtype="float32")[:, None]
    rows = ops.cast(matrices, "float32")[:, :, :, None, None]
    x, y = (rows[:, i, 0] * x + rows[:, i, 1] * y + rows[:, i, 2] for i in (0, 1))
    x, y = ops.clip(x, 0, width - 1), ops.clip(y, 0, height - 1)  # the border is repeated
    left, top = ops.floor(x), ops.floor(y)
    # Each pixel with its neighbours to the right, below, and below to the right, so that one look-up finds all four.
    pairs = ops.concatenate([images, ops.concatenate([images[:, :, 1:], images[:, :, -1:]], axis=2)], axis=3)
    fours = ops.concatenate([pairs, ops.concatenate([pairs[:, 1:], pairs[:, -1:]], axis=1)], axis=3)
    place = ops.cast(top * width + left, "int32") + ops.arange(ops.shape(images)[0])[:, None, None] * (height * width)
    four = ops.cast(ops.take(ops.reshape(fours, (-1, 4 * channels)), place, axis=0), "float32")
    a, b, c, d = (four[..., i * channels : (i + 1) * channels] for i in range(4))
    right, down = (x - left)[..., None], (y - top)[..., None]
    upper, lower = a + right * (b - a), c + right * (d - c)
    return upper + down * (lower - upper)


def matrix(like, *entries):
    """Six entries, numbers or (n,), row by row, to affine matrices (n, 3, 3); ``like``: any of them that is (n,)."""
    rows = [ops.zeros_like(like) + entry for entry in (*entries, 0.0, 0.0, 1.0)]
    return ops.reshape(ops.stack(rows, axis=-1), (-1, 3, 3))


def flip_matrix(flipped, width):
    """Left to right where ``flipped`` (n,) is true."""
    flipped = ops.cast(flipped, "float32")
    return matrix(flipped, 1 - 2 * flipped, 0.0, flipped * (width - 1), 0.0, 1.0, 0.0)


def rotation_matrix(degrees, height, width):
    """Turn counterclockwise by ``degrees`` (n,) about the middle."""
    angle, x, y = degrees * (math.pi / 180), (width - 1) / 2, (height - 1) / 2
    c, s = ops.cos(angle), ops.sin(angle)
    return matrix(angle, c, -s, x - c * x + s * y, s, c, y - s * x - c * y)


def shift_matrix(right, down):
    """Move to the right and down by so many pixels, (n,) each."""
    return matrix(right, 1.0, 0.0, -right, 0.0, 1.0, -down)


def shear_matrix(x, y):
    """Point (x, y) comes from (x + shear_x · y, y + shear_y · x); (n,) each, no unit."""
    return matrix(x, 1.0, x, 0.0, y, 1.0, 0.0)


def zoom_matrix(zoom, height, width):
    """Show the middle part whose sides are ``zoom`` (n,) times those of the image: below 1 enlarges."""
    return matrix(zoom, zoom, 0.0, (1 - zoom) * (width - 1) / 2, 0.0, zoom, (1 - zoom) * (height - 1) / 2)


class ReportRMSprop(keras.optimizers.RMSprop):
    """RMSprop as Keras 2.2.4 had it: a step is rate · gradient / (√velocity + ε), the ε outside the root.

    Keras 3 divides by √(velocity + ε). With ε = 10⁻⁷ it hardly acts where gradients are smaller than √ε ≈ 3·10⁻⁴,
    which most gradients of the small network are. Only ``rho`` and ``epsilon`` are used: no momentum, not centred.

    Source: keras 2.2.4, keras/optimizers.py, class RMSprop; the difference is keras-team/keras issue 435.
    """

    def update_step(self, gradient, variable, learning_rate):
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        velocity = self._velocities[self._get_variable_index(variable)]
        self.assign(velocity, self.rho * velocity + (1 - self.rho) * ops.square(gradient))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(velocity) + self.epsilon))
