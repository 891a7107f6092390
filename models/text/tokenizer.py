"""Tokenizers from the files that lie beside published weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from utils.errors import UserError

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
# Contractions, runs of letters, single digits, and runs of anything else: what CLIP's vocabulary was built on.
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
OPENAI_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"


def load_tokenizer(folder: Path, family: str, vocabulary: int, max_tokens: int) -> Tokenizer:
    """Builds the tokenizer of a model from the first of these that its folder holds: `tokenizer.json`;
    for CLIP `vocab.json` + `merges.txt` or OpenAI's `bpe_simple_vocab_16e6.txt.gz`; for the others `vocab.txt`.

    Args:
        folder: where the weights lie.
        family: `bert`, `distilbert` or `clip`.
        vocabulary: token ids that the model knows.
        max_tokens: longer texts lose their end (the end mark stays).

    Raises:
        UserError: there is no vocabulary, it cannot be read, or it is that of another model.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            source = folder / "tokenizer.json"
            tokenizer = Tokenizer.from_file(str(source))
        elif family == "clip":
            source, tokenizer = _clip_tokenizer(folder, vocabulary)
        elif (folder / "vocab.txt").is_file():
            source = folder / "vocab.txt"
            tokenizer = _bert_tokenizer(source)
        else:
            raise UserError(f"no vocabulary beside the weights: tokenizer.json or vocab.txt belongs in {folder}")
    except UserError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise UserError(f"the vocabulary in {folder} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if tokenizer.get_vocab_size() > vocabulary:
        raise UserError(
            f"{source} is another model's: {tokenizer.get_vocab_size()} tokens, the weights have {vocabulary}"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _bert_tokenizer(path: Path) -> Tokenizer:
    """WordPiece over lower-case words, between [CLS] and [SEP]."""
    words = path.read_text(encoding="utf-8").splitlines()
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def _clip_tokenizer(folder: Path, vocabulary: int) -> tuple[Path, Tokenizer]:
    """Byte-level BPE over lower-case words, between start and end marks; and the file that it came from."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        source = folder / "vocab.json"
        ids = json.loads(source.read_text(encoding="utf-8"))
        merges = _merges((folder / "merges.txt").read_text(encoding="utf-8"))
    elif (folder / OPENAI_VOCABULARY).is_file():
        source = folder / OPENAI_VOCABULARY
        symbols = _byte_symbols()
        # The file lists more merges than the model has tokens for: the rest of the table decides how many count.
        merges = _merges(gzip.decompress(source.read_bytes()).decode("utf-8"))[: vocabulary - 2 * len(symbols) - 2]
        tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
        ids = {token: index for index, token in enumerate([*tokens, CLIP_START, CLIP_END])}
    else:
        raise UserError(
            f"CLIP's vocabulary is missing: {OPENAI_VOCABULARY} (or vocab.json and merges.txt) belongs in {folder}"
        )
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=CLIP_END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (CLIP_END, ids[CLIP_END]), (CLIP_START, ids[CLIP_START]), trim_offsets=False, add_prefix_space=False
    )
    return source, tokenizer


def _merges(text: str) -> list[tuple[str, str]]:
    """The pairs of a merges file, whose first line is a version."""
    pairs = (line.split() for line in text.split("\n")[1:])
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes, in vocabulary order: first the bytes that are printable
    themselves, then the others, drawn from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]
