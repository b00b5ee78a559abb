"""Photos, collections and archives that tests make for themselves."""

import io
import zipfile

import numpy as np
from PIL import Image

from found import CLASSES


def picture(seed, side=96):
    """A smooth random colour picture, so that JPEG changes it little and no two are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def put(path, seed=0, form="JPEG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, form, **options)
    return path


def collection(root, per_class, first_seed=0):
    """Photos in Kaggle's layout below ``root``."""
    for label, kind in enumerate(CLASSES):
        for i in range(per_class):
            put(root / "train" / f"{kind}.{i}.jpg", first_seed + 1000 * label + i)
    return root


def damaged_files(folder):
    """Files that cannot be used, with a word that the reason must hold."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(whole, "JPEG")
    whole = whole.getvalue()
    (folder / "cat.900.jpg").write_bytes(b"")
    (folder / "cat.901.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cat.902.jpg").write_text("I am a letter, not a photo.")
    (folder / "cat.903.jpg").write_bytes(whole[:20])
    Image.new("RGB", (1, 1)).save(folder / "cat.904.jpg")
    (folder / "cat.905.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "cat.906.jpg").symlink_to(folder / "cat.906.jpg")
    return {
        "cat.900.jpg": "empty", "cat.901.jpg": "damaged", "cat.902.jpg": "not an image", "cat.903.jpg": "damaged|not an image",
        "cat.904.jpg": "too few", "cat.905.jpg": "No such file", "cat.906.jpg": "symbolic links",
    }  # fmt: skip


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
