"""What lies in a folder: every layout and way of naming, links, hidden folders and bins; weights that are none."""

import os
import socket
from pathlib import Path

import h5py
import numpy as np
import pytest

import found
from made_photos import put
from paths import BookError


def names_of(root):
    """{name: label} of what is used, {name: reason} of what is left out."""
    used, left_out = found.scan(root)
    return {name: label for name, label, *_ in used}, dict(left_out)


# --- layouts and names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["train/cat.0.jpg", "train/dog.0.jpg"],  # Kaggle
        ["cat.0.jpg", "dog.0.jpg"],
        ["dogs-vs-cats/train/train/cat.0.jpg", "dogs-vs-cats/train/train/dog.0.jpg"],
        ["PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg"],  # Microsoft
        ["train/cats/cat.0.jpg", "validation/dogs/dog.2000.jpg"],  # Google
        ["training_set/cats/a.jpeg", "training_set/dogs/b.PNG"],
    ],
)
def test_layouts(tmp_path, names):
    for name in names:
        put(tmp_path / name, form="PNG" if name.endswith("PNG") else "JPEG")
    used, left_out = found.list_photos(tmp_path)
    assert [(label, p.relative_to(tmp_path).as_posix()) for label, p in used] == list(enumerate(names))
    assert left_out == []


@pytest.mark.parametrize(
    "name, label",
    [
        *[(f"{name}.jpg", 0) for name in ("cat (1)", "cat1", "Cat", "CAT_0001", "cat-7", "cats 3", "Copy of cat.4", "cat.4 - Copy", "myCat2")],
        *[(f"{folder}/0.jpg", 1) for folder in ("Dog images", "train_dogs", "DOGS", "dogs2", "DogImages", "all-dogs", "Dog", "dogs/2019/May")],
        ("cat.0.JPG", 0), ("dog.0.jfif", 1), ("cat.0.jpg ", 0), ("cats_and_dogs/cat1.jpg", 0), ("cats/cat and dog.jpg", 0),
        ("PetImages\\Cat\\0.jpg", 0),  # unpacked from a zip that was made on Windows
        ("my cat project/2019/dog.1.jpg", 1),  # the name is nearer than a folder further up
        *[(f"{name}.jpg", "neither its folder nor its name") for name in ("category.1", "horse.0", "caterpillar", "hotdog.3", "scat1", "dogma")],
        ("cats_and_dogs/1.jpg", "its folder is named after both"), ("cat with dog.jpg", "its name says both"),
        ("Cat/dog.1.jpg", "its folder says cat, its name says dog"), ("train_dogs/cat1.jpg", "its folder says dog, its name says cat"),
        ("cat.0.heic", "does not end in .jpg, .jpeg"), ("cat.0.jpg.part", "does not end in"), ("cat", "does not end in"), (".cat.0.jpg", "hidden"),
        ("._cat.0.jpg", "hidden"),
    ],
)  # fmt: skip
def test_names_are_understood_or_left_out_for_the_true_reason(tmp_path, name, label):
    put(tmp_path / name)
    used, left_out = names_of(tmp_path)
    if isinstance(label, int):
        assert used == {name: label} and not left_out
    else:
        assert not used and list(left_out) == [name] and label in left_out[name]


def test_natural_order(tmp_path):
    for i in (10, 9, 100, 1):
        put(tmp_path / f"cat.{i}.jpg")
    assert list(names_of(tmp_path)[0]) == ["cat.1.jpg", "cat.9.jpg", "cat.10.jpg", "cat.100.jpg"]


def test_odd_digits_in_names_are_no_trouble(tmp_path):
    put(tmp_path / "Cat" / "1²2.jpg")
    assert len(names_of(tmp_path)[0]) == 1


@pytest.mark.parametrize("folder", ["dog-vs-cat", "dog_cat_photos", "dogs-vs-cats"])
def test_a_folder_named_after_both_decides_nothing(tmp_path, folder):
    put(tmp_path / folder / "cat.0.jpg")
    put(tmp_path / folder / "dog.0.jpg")
    assert list(names_of(tmp_path)[0].values()) == [0, 1]


def test_files_that_are_no_photos_are_named(tmp_path):
    put(tmp_path / "train" / "cat.0.jpg")
    put(tmp_path / "train" / "horse.0.jpg")
    put(tmp_path / "train" / "category.1.jpg")
    (tmp_path / "train" / "cat.7.jpg").mkdir()
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "_DS_Store").write_bytes(b"x")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    used, left_out = names_of(tmp_path)
    assert list(used) == ["train/cat.0.jpg"]
    assert set(left_out) == {"train/horse.0.jpg", "train/category.1.jpg", "train/cat.7.jpg", "Thumbs.db", "_DS_Store"}
    assert "folder" in left_out["train/cat.7.jpg"] and "cat or dog" in left_out["train/horse.0.jpg"]


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path):
    put(tmp_path / "cat.1.jpg").rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat.caf\xe9.jpg")))
    used, left_out = names_of(tmp_path)
    assert not used and left_out == {"cat.caf\ufffd.jpg": "its name is not UTF-8; rename it"}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cat.1.jpg")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s"))
        (tmp_path / "s").rename(tmp_path / "cat.2.jpg")
    used, left_out = names_of(tmp_path)
    assert not used and all("from its beginning to its end" in reason for reason in left_out.values()) and len(left_out) == 2


# --- hidden folders and bins -----------------------------------------------------------------------------------

BINS = [
    ".ipynb_checkpoints", ".Trash-1000", ".Trashes", ".git", ".thumbnails", "__MACOSX", "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "Recycled",
    "@eaDir", "@Recycle", "#recycle", "lost+found", "FOUND.000", "System Volume Information", "Trash", "trash-1000", "Network Trash Folder", "__pycache__",
]  # fmt: skip


@pytest.mark.parametrize("folder", BINS)
@pytest.mark.parametrize("above", ["", "train/cats/"])
def test_nothing_in_a_hidden_folder_or_a_bin_is_read_and_it_is_counted(tmp_path, folder, above):
    put(tmp_path / "train" / "cats" / "cat.0.jpg")
    for name in ("cat.1-checkpoint.jpg", "files/dog.2.jpg", "files/deeper/cat.3.jpg"):
        put(tmp_path / above / folder / name)
    used, left_out = names_of(tmp_path)
    assert used == {"train/cats/cat.0.jpg": 0}
    assert list(left_out) == [f"{above}{folder}/"] and "not read (3 files in it)" in left_out[f"{above}{folder}/"]


def test_names_that_only_look_like_bins_are_read(tmp_path):
    for folder in ("trashy cats", "foundlings", "lost", "recycling"):
        put(tmp_path / folder / "cat.0.jpg")
    put(tmp_path.with_name(".hidden") / "photos" / "cat.0.jpg")
    assert len(names_of(tmp_path)[0]) == 4
    assert len(names_of(tmp_path.with_name(".hidden") / "photos")[0]) == 1  # hidden is only what lies below the root


# --- links -----------------------------------------------------------------------------------------------------


def test_class_folders_that_are_links_are_followed(tmp_path):
    put(tmp_path / "disk" / "a" / "0.jpg")
    put(tmp_path / "disk" / "b" / "train" / "dog.1.jpg")
    root = tmp_path / "cats_vs_dogs"
    root.mkdir()
    (root / "Cat").symlink_to(tmp_path / "disk" / "a")
    (root / "train").symlink_to("../disk/b/train")
    (root / "cat.7.jpg").symlink_to(put(tmp_path / "blobs" / "3f5c"))  # as the caches of download tools have it
    (tmp_path / "link").symlink_to(root)
    for each in (root, tmp_path / "link"):
        assert names_of(each) == ({"Cat/0.jpg": 0, "cat.7.jpg": 0, "train/dog.1.jpg": 1}, {})


@pytest.mark.parametrize("target", [".", "..", "../..", "train", "/"])
def test_circles_are_not_followed(tmp_path, target):
    root = tmp_path / "cats_vs_dogs"
    put(root / "train" / "cat.0.jpg")
    put(tmp_path / "dog.1.jpg")  # beside the root, not below it
    (root / "train" / "loop").symlink_to(target)
    (root / "train" / "again").symlink_to(root / "train")
    used, left_out = names_of(root)
    assert used == {"train/cat.0.jpg": 0}
    assert all(name in ("train/loop/", "train/again/", "train/loop") for name in left_out) and len(left_out) == 2


def test_two_folders_that_lead_into_each_other(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        put(tmp_path / one / f"cat.{one}.jpg")
        (tmp_path / one / "over").symlink_to(tmp_path / other)
    used, left_out = names_of(tmp_path)
    assert set(used) == {"a/cat.a.jpg", "b/cat.b.jpg"} and "read already" in left_out["a/over/"]


def test_a_link_of_a_link_does_not_lead_out_to_what_lies_beside_the_root(tmp_path):
    put(tmp_path / "home" / "cats_vs_dogs" / "cat.0.jpg")
    put(tmp_path / "home" / "holiday" / "dog.1.jpg")
    put(tmp_path / "disk" / "dog.2.jpg")
    (tmp_path / "home" / "cats_vs_dogs" / "disk").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "home").symlink_to(tmp_path / "home")
    assert set(names_of(tmp_path / "home" / "cats_vs_dogs")[0]) == {"cat.0.jpg", "disk/dog.2.jpg"}


def test_no_photo_is_read_twice(tmp_path):
    put(tmp_path / "z" / "cat.0.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "z")  # in the alphabet before the folder itself, which keeps its name
    (tmp_path / "cat.1.jpg").symlink_to(tmp_path / "z" / "cat.0.jpg")
    for name in ("cat.2.jpg", "cat.3.jpg"):
        (tmp_path / name).symlink_to(put(tmp_path.with_name("outside") / "1.jpg"))
    used, left_out = names_of(tmp_path)
    assert set(used) == {"z/cat.0.jpg", "cat.2.jpg"} and set(left_out) == {"a/", "cat.1.jpg", "cat.3.jpg"}
    assert all("read already" in reason for reason in left_out.values())


def test_links_to_nothing_are_named(tmp_path):
    (tmp_path / "Cat").symlink_to(tmp_path / "unplugged disk")
    (tmp_path / "dog.1.jpg").symlink_to(tmp_path / "dog.1.jpg")
    assert names_of(tmp_path)[1] == {
        "Cat": "a link that leads nowhere (No such file or directory)",
        "dog.1.jpg": "a link that leads nowhere (Too many levels of symbolic links)",
    }


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path / "Cat" / "0.jpg")
    put(tmp_path / "Dog" / "0.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("Dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read every folder
    assert names_of(tmp_path) == ({"Cat/0.jpg": 0}, {"Dog/": "a folder that cannot be read (Permission denied)"})


# --- weights ---------------------------------------------------------------------------------------------------


def shapes_of_vgg(name, classifier=False):
    dense = [(25088, 4096), (4096,), (4096, 4096), (4096,), (4096, 1000), (1000,)]
    return found.vgg_shapes(name) + (dense if classifier else [])


def write_weights(path, shapes, layout):
    """A file of weights, all 0 and so nearly without size, as Keras lays it out: "new", "old", or "model" (old, in a whole model)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        pairs = list(zip(shapes[::2], shapes[1::2]))
        layers = [f"layer{i}" for i in range(len(pairs))]
        if layout == "new":
            for i, pair in enumerate(pairs):
                for key, shape in enumerate(pair):
                    file.create_dataset(f"layers/conv2d{f'_{i}' * (i > 0)}/vars/{key}", shape, "f4")
            file.create_group("layers/max_pooling2d/vars")
        else:
            top = file.create_group("model_weights") if layout == "model" else file
            top.attrs["layer_names"] = [name.encode() for name in ["input_1", *layers]]
            top.create_group("input_1").attrs["weight_names"] = np.array([], "S")
            for layer, pair in zip(layers, pairs):
                top.create_group(layer).attrs["weight_names"] = [f"{layer}_W:0".encode(), f"{layer}_b:0".encode()]
                for key, shape in zip("Wb", pair):
                    top[layer].create_dataset(f"{layer}_{key}:0", shape, "f4")
    return path


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("layout, suffix", [("new", ".weights.h5"), ("old", ".h5"), ("model", ".h5"), ("old", ".hdf5")])
def test_weights_of_both_layouts_are_recognised(tmp_path, name, layout, suffix):
    found.check_weights(write_weights(tmp_path / f"{name}{suffix}", shapes_of_vgg(name), layout), name)


def test_shapes_are_those_of_keras():
    import keras

    for name, build in (("vgg16", keras.applications.VGG16), ("vgg19", keras.applications.VGG19)):
        network = build(include_top=False, weights=None, input_shape=(32, 32, 3))
        assert found.vgg_shapes(name) == [w.shape for w in network.weights]


def test_what_keras_writes_is_recognised(tmp_path):
    import keras

    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    network.save_weights(tmp_path / "a.weights.h5")
    network.save(tmp_path / "b.h5")
    for file in ("a.weights.h5", "b.h5"):
        found.check_weights(tmp_path / file, "vgg16")
        with pytest.raises(BookError, match="VGG19 without its classifier: it holds the weights of VGG16"):
            found.check_weights(tmp_path / file, "vgg19")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 58889256\n"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (LFS, "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "web page"),
        (b"PK\x03\x04" + b"\0" * 100, "archive"),
        (b"I am a letter.", "no HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + b"\xff" * 3000, "cannot be read|damaged|cut short"),
    ],
)
@pytest.mark.parametrize("file", ["vgg16_notop.weights.h5", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"])
def test_what_is_no_file_of_weights_is_told_what_it_is(tmp_path, content, words, file):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BookError, match=f"{file} does not hold the weights of VGG16 without its classifier: .*({words})") as caught:
        found.check_weights(tmp_path / file, "vgg16")
    assert "Replace the file, or delete it" in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("layout, suffix", [("new", ".weights.h5"), ("old", ".h5")])
def test_weights_of_something_else_are_told_what_they_are(tmp_path, layout, suffix):
    some = shapes_of_vgg("vgg16")
    transposed = [tuple(reversed(shape)) for shape in some]  # as Theano had them
    for shapes, words in (
        (shapes_of_vgg("vgg19"), "it holds the weights of VGG19"),
        (shapes_of_vgg("vgg19", classifier=True), "it holds the weights of VGG19 with its classifier"),
        (shapes_of_vgg("vgg16", classifier=True), "it holds the classifier as well"),
        (some[:-2], "it holds another network"),
        (transposed, "it holds another network"),
        ([(7, 7, 3, 64), (64,)], "it holds another network .2 arrays, the first of shape 7 × 7 × 3 × 64."),
        ([], "there are no weights"),
    ):
        with pytest.raises(BookError, match=words):
            found.check_weights(write_weights(tmp_path / f"vgg16{suffix}", shapes, layout), "vgg16")


def test_a_name_of_the_other_layout_is_told_the_right_one(tmp_path):
    """Keras goes by the name, and would find no layers in such a file."""
    for layout, given, right in (("old", "a.weights.h5", "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"), ("new", "b.h5", "vgg19_notop.weights.h5")):
        with pytest.raises(BookError, match=f"rename it to {right}"):
            found.check_weights(write_weights(tmp_path / given, shapes_of_vgg("vgg19"), layout), "vgg19")


def test_cut_or_changed_weights(tmp_path):
    path = write_weights(tmp_path / "vgg16_notop.weights.h5", shapes_of_vgg("vgg16"), "new")
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/1"][:] = np.nan
    with pytest.raises(BookError, match="not finite"):
        found.check_weights(path, "vgg16")
    whole = path.read_bytes()
    for part in (0.05, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(BookError, match="cut short"):
            found.check_weights(path, "vgg16")
    rng = np.random.default_rng(0)
    for _ in range(200):  # whatever is wrong inside, it is one clear message
        broken = np.frombuffer(whole, np.uint8).copy()
        broken[rng.integers(8, len(broken), 60)] = rng.integers(0, 256, 60)
        path.write_bytes(broken.tobytes())
        try:
            found.check_weights(path, "vgg16")
        except BookError as error:
            assert "VGG16" in str(error) and len(str(error)) < 900
