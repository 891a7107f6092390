"""Captions as users have them: a text file a clip, or one table for all; and their words with parts of speech."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data.captions import OTHER, Caption, caption_lines, one_line, parse_caption, seconds
from data.prepare.sources import Refusal, clip_name, files_below
from storage.files import read_json, read_text
from storage.limits import LONGEST_LINE, MOST_CAPTIONS
from utils.errors import UserError, readable
from utils.mirror import mirror_caption

TABLE_SUFFIXES = (".csv", ".json")
COLUMNS = ("name", "caption", "start", "end")
SPACY_MODEL = "en_core_web_sm"
# Two words whose mirror image is one.
COUNTER_CLOCKWISE = re.compile(r"\b(counter|anti)/\S+ clockwise/", re.IGNORECASE)


@dataclass
class CaptionSet:
    """Captions by clip name, and the lines that could not be read; of the clips in `wanted`, None: of all."""

    wanted: Container[str] | None = None
    by_clip: dict[str, list[Caption]] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)

    def read_folder(self, folder: Path) -> None:
        """Adds one `NAME.txt` a clip: each line a caption, or `caption#word/POS ...#start#end`.

        Raises:
            UserError: the folder is missing.
        """
        for path in files_below(folder, (".txt",)):
            file = str(path.relative_to(folder))
            name = clip_name(file)
            if self.wanted is not None and name not in self.wanted:
                continue
            self.by_clip.setdefault(name, [])
            try:
                lines = caption_lines(path)
            except UserError as error:
                self.refused.append(Refusal(name, file, f"the caption file {str(error).removeprefix(f'{path} ')}"))
                continue
            for number, line in lines:
                self._add(name, f"{file} line {number}", lambda line=line: parse_caption(line, plain=True))
            if not lines:
                self.refused.append(Refusal(name, file, "the caption file is empty"))

    def read_table(self, path: Path) -> None:
        """Adds one file for all clips: .csv with the columns `name,caption[,start,end]` (a first line of these words
        may name them in another order), or .json with a list of such objects or with an object of captions by name.

        Raises:
            UserError: the file is missing, unreadable, or of another shape.
        """
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise UserError(f"{path}: a table of captions ends in .csv or .json")
        for place, values in _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path):
            told = str(values.get("name") or "").strip()
            if not told:
                self.refused.append(Refusal("", f"{path.name} {place}", "no clip name"))
                continue
            self._add(clip_name(told), f"{path.name} {place}", lambda values=values: _from_values(values))

    def _add(self, name: str, place: str, make: Callable[[], Caption]) -> None:
        """Adds what `make` returns, or notes why it cannot; the same sentence of the same stretch twice counts once."""
        if self.wanted is not None and name not in self.wanted:
            return
        known = self.by_clip.setdefault(name, [])
        try:
            caption = _usable(make())
            if len(known) == MOST_CAPTIONS:
                raise ValueError(f"the clip has {MOST_CAPTIONS} captions before this one, no more are read")
        except ValueError as error:
            self.refused.append(Refusal(name, place, readable(str(error))))
            return
        if all((caption.text, caption.start, caption.end) != (each.text, each.start, each.end) for each in known):
            known.append(caption)


def _from_values(values: dict[str, Any]) -> Caption:
    text = values.get("caption")
    if not isinstance(text, str):
        raise ValueError("no caption")
    if len(text) > LONGEST_LINE:
        raise ValueError(f"the caption has {len(text)} characters, at most {LONGEST_LINE} are read")
    return Caption(one_line(text), (), seconds(values.get("start") or 0), seconds(values.get("end") or 0))


def _usable(caption: Caption) -> Caption:
    """The caption with a part of speech for every word: a bare word is OTHER, a bare tag nothing.

    Raises:
        ValueError: it is empty, or ends before it starts.
    """
    if not caption.text:
        raise ValueError("the caption is empty")
    if caption.end and caption.start >= caption.end:
        raise ValueError(f"the caption's start {caption.start:g} is not before its end {caption.end:g}")
    return replace(caption, tokens=tuple(filter(None, map(_with_tag, caption.tokens))))


def _with_tag(token: str) -> str:
    word, _, tag = token.rpartition("/")
    if word:
        return token if tag else f"{word}/{OTHER}"
    return f"{tag}/{OTHER}" if tag and "/" not in token else ""


def _csv_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    text = read_text(path)
    try:
        delimiter = _delimiter(text)
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{path} is not a readable CSV file: {error}") from error
    if not rows:
        raise UserError(f"{path} is empty")
    columns = [cell.strip().lower() for cell in rows[0][1]]
    if {"name", "caption"} <= set(columns):
        rows = rows[1:]
    else:
        columns = list(COLUMNS)
    for number, row in rows:
        if len(row) > len(columns) or len(row) < 2:
            yield f"line {number}", {"name": row[0], "caption": None}
        else:
            values = dict(zip(columns, row, strict=False))
            if delimiter != ",":  # where commas do not separate columns, they may stand in numbers
                values |= {key: values[key].replace(",", ".") for key in ("start", "end") if key in values}
            yield f"line {number}", values


def _delimiter(text: str) -> str:
    """What separates the columns: spreadsheets write semicolons or tabs in many countries. A comma unless the first
    line names the columns otherwise."""
    first = text.lstrip().partition("\n")[0].lower()
    for delimiter in (";", "\t"):
        if {"name", "caption"} <= {cell.strip(' "\r') for cell in first.split(delimiter)}:
            return delimiter
    return ","


def _json_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    content = read_json(path)
    if isinstance(content, dict):
        for name, value in content.items():
            for item in value if isinstance(value, list) else [value]:
                values = item if isinstance(item, dict) else {"caption": item}
                yield f"entry {name!r}", {**values, "name": name}
    elif isinstance(content, list):
        for number, item in enumerate(content):
            values = item if isinstance(item, dict) else {}
            texts = values.get("caption")
            for text in texts if isinstance(texts, list) and texts else [texts]:
                yield f"entry {number}", {**values, "caption": text}
    else:
        raise UserError(f"{path}: captions are a list or an object, not {type(content).__name__}")


# Words


def tag(texts: list[str]) -> tuple[list[tuple[str, ...]], str | None]:
    """Words with parts of speech as HumanML3D has them: `word/POS`, nouns and verbs as lemmas.

    Returns:
        the tokens of each text; and why every word is OTHER, None when spaCy tags them.
    """
    plain = [text.replace("-", "") for text in texts]
    try:
        import spacy  # noqa: PLC0415 - optional, and slow to import

        model = spacy.load(SPACY_MODEL)
    except (ImportError, OSError):
        note = (
            "words are tagged OTHER, since spaCy and its English model are not installed "
            f"(pip install spacy && python -m spacy download {SPACY_MODEL})"
        )
        return [tuple(f"{word}/{OTHER}" for word in words_of(text)) for text in plain], note
    return [tuple(_tagged(word) for word in doc if word.text.isalpha()) for doc in model.pipe(plain)], None


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return [word.lower() for word in re.findall(r"[^\W_]+(?:'[^\W_]+)?", text)]


def _tagged(word: Any) -> str:
    # spaCy takes the adjective "left" for a form of "leave".
    lemma = word.pos_ in ("NOUN", "VERB") and word.text.lower() != "left"
    return f"{word.lemma_ if lemma else word.text.lower()}/{word.pos_}"


def mirrored(caption: Caption) -> Caption:
    """The caption and its tokens with left and right exchanged."""
    joined = COUNTER_CLOCKWISE.sub(r"\1clockwise/", " ".join(caption.tokens))
    pairs = [token.rpartition("/") for token in joined.split()]
    words = mirror_caption(" ".join(word for word, _, _ in pairs)).split(" ")
    tokens = tuple(f"{word}/{tag}" for word, (_, _, tag) in zip(words, pairs, strict=True)) if pairs else ()
    return replace(caption, text=mirror_caption(caption.text), tokens=tokens)


def caption_line(caption: Caption) -> str:
    """The line of a caption file, as `data.captions.read_captions` reads it."""
    return f"{caption.text}#{' '.join(caption.tokens)}#{caption.start}#{caption.end}\n"
