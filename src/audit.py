"""Audit the labels of test photos: contact sheets without names, labels or answers, and what people saw on them.

    python src/audit.py sheets FOLDER                      make the sheets, FOLDER/sheet-01.png, …, and the key, FOLDER-key.csv
    python src/audit.py collect FOLDER VERDICTS --reader "a student"     put what a reader wrote into edition/audit.csv

On the sheets are the test photos that the networks doubt most and a random sample of all test photos, shuffled and numbered. Whoever reads
them gets the folder and not the key, and writes one line a photo, its number and a verdict: cat, dog, both, neither or unclear.
The chapter *How sure is it?* reads edition/audit.csv.
"""

import argparse
import csv
import io
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import assets
import experiments
from paths import BUILD, EDITION, PROJECT, BookError, runs_folder, write_atomically

NETWORKS = ["vgg16_features", "vgg16_unfrozen_224", "vgg19_unfrozen"]  # the best ones: what they doubt, a label may explain
VERDICTS = ("cat", "dog", "both", "neither", "unclear")
COLUMNS = ["photo", "sample", "verdict", "reader"]
SIDE, COLUMNS_OF_A_SHEET, ROWS_OF_A_SHEET, EDGE = 224, 5, 4, 26  # pixels, photos, photos, pixels for the number


def doubts(outcomes):
    """How much networks doubt the labels of photos: {name of the file: mean probability of its label over networks and seeds}.

    Args:
        outcomes: outcomes of trainings, all tested on the same photos.
    """
    given = {}
    for outcome in outcomes:
        test = outcome["test"]
        for name, label, p in zip(test["names"], test["labels"], test["probability"]):
            given.setdefault(name, []).append(p if label else 1 - p)
    return {name: float(np.mean(values)) for name, values in given.items()}


def choose(doubt, doubted, random, seed):
    """The photos to look at, shuffled: [(name, sample)], sample "doubted", "random" or "doubted random".

    Args:
        doubt: as ``doubts`` returns it.
        doubted, random: how many photos of each sample; the random one is drawn from all photos.
    """
    rng, names = np.random.default_rng(seed), sorted(doubt)
    most = set(sorted(names, key=lambda name: (doubt[name], name))[:doubted])
    drawn = set(rng.choice(names, min(random, len(names)), replace=False).tolist())
    chosen = sorted(most | drawn)
    return [(chosen[i], " ".join(["doubted"] * (chosen[i] in most) + ["random"] * (chosen[i] in drawn))) for i in rng.permutation(len(chosen))]


def sheet(pictures, first):
    """A contact sheet, 4 rows of 5 photos with their numbers above them: a Pillow image.

    Args:
        pictures: up to 20 Pillow images of at most 224 pixels a side; first: the number of the first.
    """
    page = Image.new("RGB", (COLUMNS_OF_A_SHEET * (SIDE + EDGE) + EDGE, ROWS_OF_A_SHEET * (SIDE + EDGE) + EDGE), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=EDGE - 6)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, COLUMNS_OF_A_SHEET)
        x, y = EDGE + column * (SIDE + EDGE), EDGE + row * (SIDE + EDGE)
        pen.text((x, y - EDGE + 2), str(first + place), "black", font)
        page.paste(picture, (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2))
    return page


def in_shape(image, size):
    """A photo that was squeezed to a square, in its own shape again: a Pillow image with ``SIDE`` pixels on its longer side.

    Args:
        image: uint8 (side, side, 3); size: (width, height) of the file.
    """
    width, height = (max(1, round(SIDE * side / max(size))) for side in size)
    return Image.fromarray(np.asarray(image)).resize((width, height), Image.Resampling.BICUBIC)


def make_sheets(folder, networks, doubted, random, seed, profile):
    """Write sheets and key; prints what was written.

    Raises:
        BookError: the folder is part of the project or not empty, or an experiment has not been computed.
    """
    folder = Path(folder).resolve()
    if folder.is_relative_to(PROJECT) and not any(folder.is_relative_to(place) for place in (runs_folder(), BUILD)):
        raise BookError(f"{folder} lies in the project, where photos do not belong. Name a folder elsewhere.")
    if folder.exists() and any(folder.iterdir()):
        raise BookError(f"{folder} is not empty. Name another folder, or empty it.")
    outcomes = [outcome for name in networks for outcome in experiments.load_outcomes(name, profile).values()]
    chosen = choose(doubts(outcomes), doubted, random, seed)
    photos = assets.load_photos(profile, SIDE)
    place, root = {name: i for i, name in enumerate(photos.names)}, None if "drawn" in photos.source else assets.find_photos()
    pictures, rows = [], []
    for number, (name, sample) in enumerate(chosen, 1):
        size = (1, 1)
        if root:
            with Image.open(root / name) as file:  # reads the header only
                size = file.size
        pictures.append(in_shape(photos.images[place[name]], size))
        rows.append([number, assets.base_name(name, photos.labels[place[name]]), sample])
    a_sheet = COLUMNS_OF_A_SHEET * ROWS_OF_A_SHEET
    for start in range(0, len(pictures), a_sheet):
        data = io.BytesIO()
        sheet(pictures[start : start + a_sheet], start + 1).save(data, "PNG")
        write_atomically(folder / f"sheet-{start // a_sheet + 1:02}.png", data.getvalue())
    write_csv(key_of(folder), ["number", "photo", "sample"], rows)
    print(f"{len(rows)} photos on {-(-len(rows) // a_sheet)} sheets in {folder}. The reader gets this folder, and not {key_of(folder)}.")


def key_of(folder):
    """The file that says which photo has which number: beside the folder, not in it."""
    return folder.with_name(f"{folder.name}-key.csv")


def write_csv(path, header, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue().encode())


def read_verdicts(text):
    """{number: verdict} of lines such as "17 cat" or "17, cat"; lines that begin with # are notes.

    Raises:
        BookError: a line that is neither, or a number that comes twice.
    """
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(\d+)[\s,:;.]+(\w+)\s*", line)
        if not match or match[2].lower() not in VERDICTS:
            raise BookError(f"The line {line.strip()!r} is no verdict. Write a photo's number and one of {', '.join(VERDICTS)}.")
        if int(match[1]) in found:
            raise BookError(f"Photo {match[1]} has two verdicts. Keep one.")
        found[int(match[1])] = match[2].lower()
    return found


def collect(folder, verdicts, reader, target):
    """Put a reader's verdicts in place of an earlier reading by the same reader into the table ``target``.

    Raises:
        BookError: a verdict that is not understood, a photo without one, or one that the key does not have.
    """
    with open(key_of(Path(folder).resolve()), encoding="utf-8", newline="") as file:
        key = {int(row["number"]): row for row in csv.DictReader(file)}
    given = read_verdicts(Path(verdicts).read_text(encoding="utf-8"))
    if missing := sorted(set(key) - set(given)):
        raise BookError(f"{verdicts} has no verdict for {len(missing)} photos, the first is {missing[0]}. Write unclear where nothing can be said.")
    if unknown := sorted(set(given) - set(key)):
        raise BookError(f"{verdicts} has a verdict for photo {unknown[0]}, and the sheets end at {max(key)}. Is it of other sheets?")
    rows = []
    if target.exists():
        with open(target, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["reader"] != reader]
    rows += [{"photo": key[n]["photo"], "sample": key[n]["sample"], "verdict": given[n], "reader": reader} for n in sorted(key)]
    rows.sort(key=lambda row: (row["reader"], row["photo"]))
    write_csv(target, COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    print(f"{target} has {len(rows)} verdicts now, {len(key)} of them by {reader}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    sheets = steps.add_parser("sheets", help="make the sheets and the key")
    sheets.add_argument("folder", help="where; outside the project")
    sheets.add_argument("--networks", nargs="+", default=NETWORKS, help=f"experiments whose doubts count (default: {' '.join(NETWORKS)})")
    sheets.add_argument("--doubted", type=int, default=60, help="how many photos that they doubt (default: 60)")
    sheets.add_argument("--random", type=int, default=100, help="how many photos drawn at random (default: 100)")
    sheets.add_argument("--seed", type=int, default=0, help="of the drawing and shuffling (default: 0)")
    sheets.add_argument("--profile", default="report", help="whose outcomes (default: report)")
    told = steps.add_parser("collect", help="put a reader's verdicts into the table")
    told.add_argument("folder", help="that of the sheets")
    told.add_argument("verdicts", help="a text file, one line a photo: number and verdict")
    told.add_argument("--reader", required=True, help='what kind of reader, "a student", say; two readers have two names')
    told.add_argument("--table", type=Path, default=EDITION / "audit.csv", help="(default: edition/audit.csv)")
    options = parser.parse_args()
    try:
        if options.step == "sheets":
            make_sheets(options.folder, options.networks, options.doubted, options.random, options.seed, options.profile)
        else:
            collect(options.folder, options.verdicts, options.reader, options.table)
    except (BookError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
