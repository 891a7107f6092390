"""Guo's evaluators: the published layout, reference outputs, independence of batches, and files that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import Caption
from data.specs import get_spec
from models.evaluator.guo import MAX_FRAMES, GuoEvaluator, GuoNetwork
from models.evaluator.interface import load_evaluator
from utils.errors import UserError
from utils.normalizer import Normalizer

REFERENCE = Path(__file__).parents[4] / "shared" / "reference"
needs_reference = pytest.mark.skipif(
    not (REFERENCE / "evaluator_keys.txt").is_file(), reason="the published reference files are not here"
)
CAPTIONS = [
    Caption("a person walks slowly", ("a/DET", "person/NOUN", "walk/VERB", "slowly/ADV")),
    Caption("a dog", ("a/DET", "dog/NOUN")),
    Caption("left", ("left/ADV",)),
]


def motions(n_features: int = 263) -> list[np.ndarray]:
    generator = np.random.default_rng(2)
    return [generator.normal(size=(length, n_features)).astype(np.float32) for length in (40, 196, 80, 44, 4)]


@needs_reference
def test_reference_outputs() -> None:
    path = REFERENCE / "evaluator_small_finest.tar"
    network = GuoNetwork(torch.load(path, weights_only=True), Normalizer(263), path).eval()
    cases = {
        name: torch.from_numpy(values) for name, values in np.load(REFERENCE / "evaluator_small_cases.npz").items()
    }
    order = cases["align_idx"]
    with torch.no_grad():
        text = network.text_encoder(cases["word_embs"], cases["cap_lens"], cases["pos_onehot"])
        movements = network.movement_encoder(cases["motions"][..., :-4])
        motion = network.encode_motion(cases["motions"], cases["m_lens"])
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(text, cases["text_embedding_input_order"], **close)
    torch.testing.assert_close(text[order], cases["text_embedding_sorted"], **close)
    torch.testing.assert_close(movements[order], cases["movements_sorted"], **close)
    torch.testing.assert_close(motion[order], cases["motion_embedding_sorted"], **close)


@needs_reference
def test_published_names_and_shapes() -> None:
    content: dict[str, dict[str, torch.Tensor]] = {}
    for line in (REFERENCE / "evaluator_keys.txt").read_text().splitlines():
        encoder, name, shape = re.fullmatch(r"(\w+) :: (\S+) \(([\d, ]+)\)", line).groups()
        size = [int(number) for number in shape.split(",") if number.strip()]
        content.setdefault(encoder, {})[name] = torch.zeros(size)
    network = GuoNetwork(content, Normalizer(263), "the published file")
    assert network.dimension == 512 and network.text_encoder.hidden.shape == (2, 1, 512)


@pytest.mark.parametrize(
    ("dataset", "folder", "meta"),
    [
        ("humanml3d", "t2m", "Comp_v6_KLD01/meta"),
        ("humanml3d", "humanml3d", "Comp_v6_KLD005/meta"),
        ("kit", "kit", "text_mot_match/meta"),
    ],
)
def test_files_are_found_and_the_batch_changes_nothing(
    guo_files: Callable[..., Path], dataset: str, folder: str, meta: str
) -> None:
    spec = get_spec(dataset)
    guo_files(folder, spec.format.n_features, meta)
    evaluator = load_evaluator(spec, "logs")
    assert (evaluator.name, evaluator.dimension, evaluator.n_features) == ("guo", 5, spec.format.n_features)
    text, motion = evaluator.embed_text(CAPTIONS), evaluator.embed_motion(motions(spec.format.n_features))
    assert text.dtype == motion.dtype == np.float32 and text.shape == (3, 5) and motion.shape == (5, 5)
    alone = np.concatenate([evaluator.embed_motion([each]) for each in motions(spec.format.n_features)])
    np.testing.assert_allclose(motion, alone, atol=1e-5)
    np.testing.assert_allclose(text, np.concatenate([evaluator.embed_text([each]) for each in CAPTIONS]), atol=1e-5)
    assert evaluator.embed_text([]).shape == (0, 5) and evaluator.embed_motion([]).shape == (0, 5)


def test_own_statistics_steps_of_four_and_no_contacts(guo_files: Callable[..., Path]) -> None:
    root = guo_files()
    evaluator = GuoEvaluator.load(get_spec("humanml3d"))
    meta = root / "checkpoints" / "t2m" / "Comp_v6_KLD01" / "meta"
    raw = motions()[0]
    normalized = (raw - np.load(meta / "mean.npy")) / np.load(meta / "std.npy")
    padded = np.zeros((1, MAX_FRAMES, 263), dtype=np.float32)
    padded[0, : len(raw)] = normalized
    network = evaluator.network
    movements = network.movement_encoder(torch.from_numpy(padded[..., :-4]))[:, :10]
    last = network.motion_encoder.gru(
        network.motion_encoder.input_emb(movements), network.motion_encoder.hidden.data.contiguous()
    )[1]
    expected = network.motion_encoder.output_net(torch.cat([last[0], last[1]], dim=-1))
    np.testing.assert_allclose(evaluator.embed_motion([raw]), expected, atol=1e-5)
    contacts = raw.copy()
    contacts[:, -4:] = 7
    np.testing.assert_array_equal(evaluator.embed_motion([contacts]), evaluator.embed_motion([raw]))
    # Frames that fill no step count only through the convolution that reaches over the end.
    assert evaluator.embed_motion([motions()[2][:43]]).shape == (1, 5)


def test_missing_files_are_named_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_evaluator(get_spec("humanml3d"), "logs")
    for place in (
        "checkpoints/t2m/text_mot_match/model/finest.tar",
        "checkpoints/humanml3d/text_mot_match/model/finest.tar",
        "checkpoints/t2m/Comp_v6_KLD01/meta/mean.npy",
        "glove/our_vab_data.npy",
        "glove/our_vab_idx.pkl",
        "glove/our_vab_words.pkl",
    ):
        assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_do_not_fit_are_refused(guo_files: Callable[..., Path]) -> None:
    root = guo_files()
    path = root / "checkpoints" / "t2m" / "text_mot_match" / "model" / "finest.tar"
    good = torch.load(path, weights_only=True)

    def refused(content: object, message: str) -> None:
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            GuoEvaluator.load(get_spec("humanml3d"))

    refused({name: value for name, value in good.items() if name != "motion_encoder"}, "lacks motion_encoder")
    gru = {name: value for name, value in good["text_encoder"].items() if name != "gru.bias_hh_l0"}
    refused(good | {"text_encoder": gru}, "text_encoder is not a state of this .* lacks gru.bias_hh_l0")
    refused(good | {"text_encoder": good["text_encoder"] | {"more": torch.zeros(1)}}, "unexpected more")
    narrow = good["movement_encoder"] | {"main.0.weight": torch.zeros(8, 247, 4)}
    refused(good | {"movement_encoder": narrow}, r"main.0.weight \(8, 247, 4\) instead of \(8, 259, 4\)")
    wide = good["text_encoder"] | {"hidden": torch.zeros(2, 1, 1 << 20)}
    refused(good | {"text_encoder": wide}, "text_encoder is not a state of this")  # and no terabytes are asked for
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="truncated or not a checkpoint|is no checkpoint"):
        GuoEvaluator.load(get_spec("humanml3d"))


@pytest.mark.parametrize(
    ("motion", "message"),
    [
        (np.zeros((40, 251)), r"motion 1 must have the shape \(frames, 263\)"),
        (np.zeros((3, 263)), "motion 1 has 3 frames: the evaluator reads 4 to 196"),
        (np.zeros((200, 263)), "motion 1 has 200 frames"),
        (np.full((40, 263), np.nan), "motion 1 has values that are not finite"),
    ],
)
def test_bad_motions_are_named(guo_files: Callable[..., Path], motion: np.ndarray, message: str) -> None:
    guo_files()
    evaluator = GuoEvaluator.load(get_spec("humanml3d"))
    with pytest.raises(UserError, match=message):
        evaluator.embed_motion([np.zeros((40, 263)), motion])
    with pytest.raises(UserError, match="no word/POS tokens"):
        evaluator.embed_text([Caption("a person walks")])
