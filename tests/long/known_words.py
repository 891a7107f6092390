"""How well remarks tell captions of actions that the models know from captions of others, as people write them.

    python -m tests.long.known_words --texts ../shared/humanml3d_text/texts.zip

prints the shares of remarks on both parts of the captions; `--fit` also fits the rule to the first (`rule` of
models/vocabulary/words.json), in ten folds by caption file. The library is that of the shipped models of a data set,
the labels are those for what these were trained on: known_words_open.txt, known_words_mini.txt.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.captions import parse_caption
from models.vocabulary.known import MOST_WORDS, Vocabulary
from models.vocabulary.words import LISTS
from pipeline import TextToMotion
from pipeline.remarks import Remarks
from storage.row_store import digest

LABELS = {name: Path(__file__).with_name(f"known_words_{name}.txt") for name in ("open", "mini")}
FALSE_ALARMS = 0.015  # that the fit aims at, of the known ones: some more are to be expected elsewhere
FOLDS = 10


def labelled(texts: Path, labels: Path, file_at: int) -> Iterator[tuple[str, list[str]]]:
    """The caption of each line of labels, and the words of the line, of which file and number begin at `file_at`."""
    with zipfile.ZipFile(texts) as archive:
        for line in labels.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                words = line.split()
                lines = archive.read(f"texts/{words[file_at]}.txt").decode().split("\n")
                yield parse_caption(lines[int(words[file_at + 1])]).text, words


def read_labels(texts: Path, labels: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Part -> file, caption and label of each."""
    parts = defaultdict(list)
    for caption, (part, file, _, label) in labelled(texts, labels, 1):
        parts[part].append((file, caption, label))
    return parts


def numbers_of(remarks: Remarks, captions: list[str]) -> np.ndarray:
    """(n, 2): what the rule sees of each caption."""
    vocabulary: Vocabulary = remarks.vocabulary
    near = remarks.nearest(captions)
    unknown = [min(sum(vocabulary.unknown(caption).values()), MOST_WORDS) for caption in captions]
    return np.array([(1 - similarity, words) for (_, similarity), words in zip(near, unknown, strict=True)])


def fitted(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Always, far, words: logistic, both kinds alike in weight; the bias is that of `FALSE_ALARMS`."""
    rows = np.isin(labels, ("known", "unknown"))
    x, y = np.column_stack([np.ones(rows.sum()), numbers[rows]]), (labels[rows] == "unknown").astype(float)
    weights, share = np.zeros(3), np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(3)
        weights += np.linalg.solve(hessian, x.T @ (share * (y - p)) - 1e-3 * weights)
    weights[0] = -np.quantile(numbers[labels == "known"] @ weights[1:], 1 - FALSE_ALARMS)
    return weights


def shares(alarms: np.ndarray, labels: np.ndarray) -> str:
    """Of each label, how many have a remark."""
    told = []
    for name in ("known", "unknown", "between"):
        count, of = int(alarms[labels == name].sum()), int((labels == name).sum())
        told.append(f"{name} {count} of {of} ({100 * count / of:.1f} %)")
    return ", ".join(told)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="HumanML3D's texts.zip")
    parser.add_argument("--dataset_name", choices=LABELS, default="open")
    parser.add_argument("--checkpoints_dir", default="pretrained")
    parser.add_argument("--fit", action="store_true", help="fit the rule anew and print it")
    parser.add_argument("--list", action="store_true", help="print what is told of each caption that judges")
    options = parser.parse_args()
    t2m = TextToMotion.load(options.checkpoints_dir, options.dataset_name)
    remarks = Remarks(t2m.database, t2m.retriever, t2m.text_encoder)
    parts = read_labels(options.texts, LABELS[options.dataset_name])
    rule = np.array([LISTS["rule"][name] for name in ("always", "far", "words")])
    files, captions, labels = map(list, zip(*parts["fit"], strict=True))
    labels, numbers = np.array(labels), numbers_of(remarks, captions)
    print(f"fit, the rule there is: {shares(numbers @ rule[1:] + rule[0] >= 0, labels)}")
    if options.fit:
        fold = np.array([digest(file)[0] % FOLDS for file in files])
        alarms = np.zeros(len(labels), bool)
        for number in range(FOLDS):
            held = fold == number
            weights = fitted(numbers[~held], labels[~held])
            alarms[held] = numbers[held] @ weights[1:] + weights[0] >= 0
        print(f"fit, {FOLDS} folds: {shares(alarms, labels)}")
        rule = fitted(numbers, labels)
        print("rule:", dict(zip(("always", "far", "words"), rule.round(2).tolist(), strict=True)))
        print(f"fit, all: {shares(numbers @ rule[1:] + rule[0] >= 0, labels)}")
    _, captions, labels = map(list, zip(*parts["judge"], strict=True))
    numbers, start = numbers_of(remarks, captions), time.process_time()
    told = remarks.of(captions)
    seconds = (time.process_time() - start) / len(captions)
    print(f"judge: {shares(numbers @ rule[1:] + rule[0] >= 0, np.array(labels))}")
    print(f"{1000 * seconds:.1f} ms a prompt (processor)")
    for caption, label, remark in zip(captions, labels, told, strict=True):
        if options.list:
            print(f"{label:8}{caption[:80]!r}: {remark}")


if __name__ == "__main__":
    main()
