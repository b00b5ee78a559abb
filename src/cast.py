"""The six and the ladder: six test photos that the training chapters ask their networks about, and how far each network comes.

Both are made from the records of a run when its pages are made, so they are in no training's key. A chapter places them:

    ```{the-six} small_cnn         what this experiment's network says about the six; without a name, what all networks of the ladder say
    ```{ladder} small_cnn          the ladder up to this rung; without a name, all of it

The ladder is the list ``ladder`` in the record of the chapter that compares all experiments, from the lowest rung to the highest:
``{"experiment": …, "name": in words, "accuracy": mean over seeds or None, "network": whether it is one}``.
"""

import io
import json
from functools import cache
from html import escape

import numpy as np
import pandas as pd
from PIL import Image

import assets
import chapters
from found import CLASSES
from paths import EDITION, BookError, runs_folder, write_atomically

MISLABELLED = "its label is wrong"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def folder_of(profile):
    """Where the records of a run lie, in ``results/`` below it: ``edition/`` or ``runs/<profile>``."""
    return EDITION if profile == "edition" else runs_folder() / profile


def files(profile):
    """The files of a run from which the six and the ladder are made, as far as they are there."""
    folder = folder_of(profile)
    return sorted(p for pattern in ("six.json", "six/*.webp", "results/*.json", "results/*-seed*.csv") for p in folder.glob(pattern))


def _records(profile):
    """{chapter: its record} of a run, without the records of single seeds."""
    paths = {chapter: folder_of(profile) / "results" / f"{chapter}.json" for chapter in chapters.chapters()}
    return {chapter: json.loads(path.read_text(encoding="utf-8")) for chapter, path in paths.items() if path.exists()}


def ladder_of(profile):
    """(chapter that has left a ladder in its record, the ladder) of a run; (None, []) without one."""
    return next(((chapter, record["ladder"]) for chapter, record in _records(profile).items() if "ladder" in record), (None, []))


@cache
def ladder(profile):
    """The rungs of a run's ladder, [] if it has none."""
    return ladder_of(profile)[1]


@cache
def answers(profile):
    """All answers to test photos in a run's records: a table with the columns seed, experiment, photo, label, probability (of a dog)."""
    paths = sorted((folder_of(profile) / "results").glob("*-seed*.csv"))
    tables = [pd.read_csv(path).assign(seed=int(path.stem.rpartition("-seed")[2])) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["seed", "experiment", "photo", "label", "probability"])


# --- the six: chosen by rule ---------------------------------------------------------------------------------------


def choose(given, networks, mislabelled=(), unclear=()):
    """Six test photos, chosen by what the networks answered: two that all get right, two that only the better ones do, two that none does.

    Each of the six has a class and a pattern, which says of each network whether it should be right. Taken is the photo that comes
    closest to the pattern over all seeds; of equals the one on which right networks are surest of the truth and wrong ones of the
    contrary. The last is a photo whose label is wrong, if there is one.

    Args:
        given: answers, as ``answers`` returns them.
        networks: names of experiments, from the weakest network to the best.
        mislabelled: photos whose label is wrong. unclear: photos to which no label is right.

    Returns:
        list of dicts, ``photo``, ``label`` and ``why``.
    """
    given = given[given["experiment"].isin(networks)]
    truth = given["label"] == 1
    given = given.assign(right=(given["probability"] > 0.5) == truth, sure=given["probability"].where(truth, 1 - given["probability"]))
    tables = (given.pivot_table(index="photo", columns="experiment", values=what)[list(networks)].dropna() for what in ("right", "sure"))
    right, sure = tables  # by photo and network, means over seeds
    labels = given.drop_duplicates("photo").set_index("photo")["label"].loc[right.index].to_numpy()
    wrong, doubtful = right.index.isin(mislabelled), right.index.isin([*mislabelled, *unclear])
    half = len(networks) // 2
    everyone, better, best, nobody = (np.arange(len(networks)) >= first for first in (0, half, min(half + 1, len(networks) - 1), len(networks)))
    wanted = [(0, everyone, "all networks are right"), (1, everyone, "all networks are right"), (0, better, "only the better networks are right"),
              (1, best, "only the better networks are right"), (1, nobody, "no network is right"), (0, nobody, "no network is right")]  # fmt: skip
    chosen = []
    for label, pattern, why in wanted:
        free = (labels == label) & ~doubtful & ~right.index.isin([entry["photo"] for entry in chosen])
        if len(chosen) == len(wanted) - 1 and wrong.any():
            free, why = wrong, MISLABELLED
        astray = np.abs(right.to_numpy(float) - pattern).sum(axis=1).round(6)
        clear = np.where(pattern, sure, 1 - sure).mean(axis=1).round(6)
        order = np.lexsort((right.index, -clear, astray))  # by the last first
        for place in order[free[order]][:1]:
            chosen.append({"photo": right.index[place], "label": int(labels[place]), "why": why})
    return chosen


def audited(photos):
    """What the readers of labels (``edition/audit.csv``) found: names of photos in which all saw the other animal, and of those on which
    they disagree or saw no single animal: two lists."""
    path = EDITION / "audit.csv"
    verdicts = pd.read_csv(path).groupby("photo")["verdict"].agg(set) if path.exists() else {}
    mislabelled, unclear = [], []
    for name, label in zip(photos.names, photos.labels):
        seen = verdicts.get(assets.base_name(name, label), {CLASSES[label]})
        if seen == {CLASSES[1 - label]}:
            mislabelled.append(name)
        elif seen != {CLASSES[label]}:
            unclear.append(name)
    return mislabelled, unclear


def write_six(profile, target):
    """Choose the six from a run's records, and write ``six.json`` and small pictures of them (``six/1.webp``, …) to a folder.

    A description that someone has written into ``six.json`` (``alt``) stays while the photo stays. A run without a ladder has no six.

    Raises:
        BookError: there are no photos to take the pictures from.
    """
    networks = [rung["experiment"] for rung in ladder(profile) if rung.get("network") and rung["accuracy"] is not None]
    if not networks:
        return
    if profile == "report" and assets.find_photos() is None:
        raise BookError("The six photos of edition/six.json are taken from the photos, and none are found here. Set BOOK_DATA (data/README.md).")
    photos = assets.load_photos(profile, chapters.load_profile(profile)["shared"]["image_size"])
    place = {name: i for i, name in enumerate(photos.names)}
    chosen = choose(answers(profile), networks, *audited(photos))
    path = target / "six.json"
    known = json.loads(path.read_text(encoding="utf-8"))["photos"] if path.exists() else []
    known = {entry["photo"]: entry["alt"] for entry in known}
    for number, entry in enumerate(chosen):
        what = f"labelled a {CLASSES[entry['label']]}" if entry["why"] == MISLABELLED else f"a {CLASSES[entry['label']]}"
        entry["alt"] = known.get(entry["photo"], f"The {ORDINALS[number]} of the six photos, {what}.")
        picture = io.BytesIO()
        Image.fromarray(np.asarray(photos.images[place[entry["photo"]]])).save(picture, "WEBP", quality=80)
        write_atomically(target / "six" / f"{number + 1}.webp", picture.getvalue())
    write_atomically(path, (json.dumps({"networks": networks, "photos": chosen}, indent=1, ensure_ascii=False) + "\n").encode())


# --- as they stand on a page -----------------------------------------------------------------------------------------


@cache
def six(profile):
    """The six of a run, as ``write_six`` has left them; [] if there are none."""
    path = folder_of(profile) / "six.json"
    return json.loads(path.read_text(encoding="utf-8"))["photos"] if path.exists() else []


@cache
def _said(profile, experiment):
    """{photo: probability of a dog} by an experiment's first seed, and that seed."""
    mine = answers(profile)
    mine = mine[mine["experiment"] == experiment]
    first = mine["seed"].min()
    mine = mine[mine["seed"] == first]
    return dict(zip(mine["photo"], mine["probability"])), first


def says(probability, entry):
    """An answer to one of the six in words and in the colour of its class; one that is not the label's says so."""
    dog = int(probability > 0.5)
    astray = "not its label" if entry["why"] == MISLABELLED else "wrong"
    mark = "" if dog == entry["label"] else f' <span class="book-wrong">{astray}</span>'
    return f'<span class="book-{CLASSES[dog]}">{CLASSES[dog]}, {100 * max(probability, 1 - probability):.0f} %</span>{mark}'


def _picture(number, entry, up):
    return f'<img src="{up}_static/six/{number + 1}.webp" width="150" height="150" alt="{escape(entry["alt"])}">'


def six_html(profile, experiment, up):
    """HTML of the six with an experiment's answers, or with those of all networks of the ladder; "" if this run has none.

    Args:
        experiment: its name, or "".
        up: what leads from the page to the folder that holds ``_static``: "../" for a chapter's.
    """
    photos = six(profile)
    networks = [experiment] if experiment else [rung["experiment"] for rung in ladder(profile) if rung.get("network") and rung["accuracy"] is not None]
    said = {name: _said(profile, name) for name in networks}
    if not photos or not any(entry["photo"] in said[name][0] for entry in photos for name in networks):
        return ""
    seed = next(seed for _, seed in said.values())
    who = "the network" if experiment else "the networks"
    note = f'<p class="book-note">What {who} with seed {seed} say{"s" if experiment else ""}, and how sure of it. Nothing was learnt from these photos.</p>'
    if experiment:
        items = []
        for number, entry in enumerate(photos):
            dog = said[experiment][0].get(entry["photo"])
            bar = "" if dog is None else f'<span class="book-bar" aria-hidden="true"><i style="width:{100 * dog:.0f}%"></i></span>'
            items.append(f"<li>{_picture(number, entry, up)}{bar}<span>{'–' if dog is None else says(dog, entry)}</span></li>")
        shown = f'<ul class="book-six-row">{"".join(items)}</ul>'
    else:
        names = {rung["experiment"]: rung["name"] for rung in ladder(profile)}
        head = "".join(f'<th scope="col">{escape(names[name])}</th>' for name in networks)
        rows = []
        for number, entry in enumerate(photos):
            cells = (said[name][0].get(entry["photo"]) for name in networks)
            cells = "".join(f"<td>{'–' if dog is None else says(dog, entry)}</td>" for dog in cells)
            rows.append(f'<tr><th scope="row">{_picture(number, entry, up)} {CLASSES[entry["label"]]}</th>{cells}</tr>')
        shown = f'<table class="book-six-table"><thead><tr><th scope="col">label</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    title = "The six, after this chapter" if experiment else "The six, once more"
    return f'<div class="book-card book-six"><p class="book-card-title">{title}</p>{shown}{note}</div>'


def ladder_html(profile, experiment):
    """HTML of the ladder up to an experiment's rung, or of all of it; "" if this run has none.

    Raises:
        BookError: no rung has this experiment.
    """
    rungs = ladder(profile)
    if not rungs:
        return ""
    names = [rung["experiment"] for rung in rungs]
    if experiment and experiment not in names:
        raise BookError(f"The ladder has no rung {experiment!r}. It has: {', '.join(filter(None, names))}.")
    now = names.index(experiment) if experiment else len(rungs)
    items = []
    for place, rung in enumerate(rungs):
        later, accuracy = place > now, rung["accuracy"]
        kind = "book-later" if later else "book-now" if place == now else "book-before"
        share = "?" if later else "–" if accuracy is None else f"{100 * accuracy:.1f} %" if rung["experiment"] else f"{100 * accuracy:.0f} %"
        width = 0 if later or accuracy is None else max(0, 200 * (accuracy - 0.5))
        current = ' aria-current="step"' if place == now else ""
        items.append(
            f'<li class="{kind}"{current}><span class="book-rung">{escape(rung["name"])}</span>'
            f'<span class="book-track" aria-hidden="true"><i style="width:{width:.1f}%"></i></span><span class="book-share">{share}</span></li>'
        )
    title = "The ladder so far" if experiment else "The ladder"
    note = "Share of the test photos that are answered right, mean over seeds. Bars begin at 50 %, the coin."
    return f'<div class="book-card book-ladder"><p class="book-card-title">{title}</p><ol>{"".join(items)}</ol><p class="book-note">{note}</p></div>'


def copy_pictures(profile, target):
    """Copy the small pictures of the six to ``six/`` in the folder ``target``."""
    for path in (folder_of(profile) / "six").glob("*.webp"):
        write_atomically(target / "six" / path.name, path.read_bytes())
