"""Results and messages as HTML. Every word of a visitor or of the library is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.vocabulary.words import grouped
from pipeline.app.requests import EditRequest, MotionRequest, StoryRequest
from pipeline.app.results import numbered
from pipeline.app.rooms import Neighbour, OwnClip, Result
from utils.errors import UserError

ALL = (("motion.mp4", "Video", ".mp4"), ("viewer.html", "3D page", ".html"))  # file, what it is, the download's ending
EACH = (
    ("motion.bvh", "Animation", ".bvh"),
    ("motion.glb", "3D model", ".glb"),
    ("joints.npy", "Joints", "_joints.npy"),
    ("features.npy", "Features", "_features.npy"),
)
MOST_WORDS = 120  # of a kind that are shown
EMPTY = """
<div class="empty">
  <svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="26" cy="8" r="4.5"/>
  <path d="M25 16 20 28l8 6 2 10M20 28l-4 8-8 2M24 18l9 5 6-3M24 18l-9 3-3 7"/></svg>
  <p>Describe a motion and press <b>Generate</b>.<br>It appears here, with the motions that helped beside it.</p>
</div>
"""


def result_url(result: Result, name: str) -> str:
    """Where a file of the result is, relative to the page."""
    return f"results/{result.token}/{name}"


def show_result(result: Result) -> str:
    """The 3D view, the video, the downloads and what was retrieved, or what was found for a clip."""
    request, lengths = result.request, [frames / result.fps for frames in result.frames]
    facts = (
        [f"{min(lengths):.1f} s"] if min(lengths) == max(lengths) else [f"{min(lengths):.1f} to {max(lengths):.1f} s"]
    )
    if len(lengths) == 1:
        facts += [f"{result.frames[0]} frames"]
    if isinstance(request, EditRequest):
        facts += [f"{request.section[0]:g} to {request.section[1]:g} s: {spoken(request.parts)}"]
        facts += [f"strength {request.strength:g}"] if request.strength < 1 else []
    if request is not None:
        facts += [seeds_of(result), f"guidance {request.cond_scale:g}", f"{request.time_steps} steps"]
    beside = len(lengths) == 1 and (isinstance(request, EditRequest) or any(each.shown for each in result.neighbours))
    kind = "several" if len(lengths) > 1 else "with-others" if beside else ""
    found = "Retrieved from the library" if request else "Nearest in the library"
    neighbours = _neighbours(result.neighbours, request is None or request.retrieval)
    video = f"""<section><h3>Video</h3>
      <video src="{result_url(result, "motion.mp4")}" controls loop muted autoplay playsinline></video></section>"""
    downloads = f"""<h3>Downloads</h3>{_downloads(result)}"""
    below = f"""<div class="below">{video if request else ""}
    <section><h3>{found}</h3>{neighbours}{downloads if request else ""}</section>
  </div>"""
    change = _change(result, 0, "Change it") if len(lengths) == 1 else ""
    return f"""
<article class="result" data-form="{escape(json.dumps(_form(request)))}">
  <header><h2>{escape(result.title)}</h2><p>{" · ".join(facts)}{change}</p></header>
  {"".join(map(_remark, result.remarks))}
  <iframe class="viewer {kind}" title="3D view" sandbox="allow-scripts"
    src="{result_url(result, "viewer.html")}"></iframe>
  {below if request or result.neighbours else ""}
</article>"""


def spoken(parts: str) -> str:
    """Body parts as they are told."""
    return parts.replace("_", " ") if parts else "whole body"


def seeds_of(result: Result) -> str:
    """The seeds of a result, in a few words."""
    seeds = result.request.seeds if result.request else []
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}" if seeds else "your clip"


def show_history(results: Sequence[Result], shown: str) -> str:
    """Earlier results to be clicked, newest first; `shown`: the token of the one in view."""
    if len(results) < 2 and shown:
        return ""
    items = "".join(
        f'<button type="button" data-picked="{each.token}" title="{escape(each.title)}"'
        f"{' aria-current=true' if each.token == shown else ''}>"
        f'<img src="{result_url(each, "picture.png")}" alt="" width="96" height="64">'
        f"<span>{escape(each.title)}</span><small>{seeds_of(each)}</small></button>"
        for each in results
    )
    return f'<nav class="history" aria-label="Earlier results">{items}</nav>' if items else ""


def show_clips(clips: Sequence[OwnClip]) -> str:
    """What a visitor added."""
    if not clips:
        return ""
    rows = "".join(
        f"<li><span>{escape(clip.caption)}</span><small>{escape(clip.name)} · {clip.seconds:.1f} s</small>"
        f"{''.join(f'<small>{escape(remark)}</small>' for remark in clip.remarks)}</li>"
        for clip in clips
    )
    return f'<ol class="clips">{rows}</ol>'


def show_words(counts: Mapping[str, int]) -> str:
    """The words that the library's captions hold, those of one kind together."""
    kinds = (f"<h4>{escape(kind)}</h4><p>{_words(words)}</p>" for kind, words in grouped(counts).items())
    return f'<h3>All known words</h3><div class="words">{"".join(kinds)}</div>'


def show_examples(examples: Mapping[str, Sequence[str]]) -> str:
    """Captions of the library to be clicked, by kind."""
    rows = (f"<h4>{escape(kind)}</h4><p>{''.join(map(_fill, texts))}</p>" for kind, texts in examples.items() if texts)
    return f'<div class="chips">{"".join(rows)}</div>'


def show_chips(texts: Sequence[str]) -> str:
    """A few captions to be clicked."""
    return f'<div class="chips"><p>{"".join(map(_fill, texts))}</p></div>'


def show_error(error: UserError) -> str:
    """One clear message."""
    text = str(error)
    return f'<div class="message" role="alert">{escape(text[:1].upper() + text[1:])}.</div>'


def _form(request: MotionRequest | None) -> dict[str, Any]:
    """What the boards of the page are set to when the result is shown again."""
    if isinstance(request, StoryRequest):
        return {"scenes": request.scenes}
    if isinstance(request, EditRequest):
        return {
            "source": "/".join(map(str, request.source)),
            "name": request.source_title,
            "seconds": request.source_seconds,
            "section": request.section,
        }
    return {}


def _change(result: Result, number: int, label: str) -> str:
    """What makes a motion of the result that which is to be changed."""
    seconds = result.frames[number] / result.fps
    return (
        f' <button type="button" class="change" data-source="{result.token}/{number}" data-seconds="{seconds:.2f}"'
        f' data-name="{escape(result.title)}">{label}</button>'
    )


def _fill(text: str) -> str:
    return f'<button type="button" data-picked="{escape(text)}">{escape(text)}</button>'


def _caption(text: str) -> str:
    told = escape(text)
    return f'<button type="button" class="caption" title="Use as the prompt" data-picked="{told}">{told}</button>'


def _words(words: list[tuple[str, int]]) -> str:
    shown = ", ".join(escape(word.split("/")[0]) for word, _ in words[:MOST_WORDS])
    return f"{shown} and {len(words) - MOST_WORDS:,} more" if len(words) > MOST_WORDS else shown


def _remark(remark: object) -> str:
    text = str(remark)
    return f'<p class="remark" role="note">{escape(text[:1].upper() + text[1:])}</p>'


def _downloads(result: Result) -> str:
    """Links to all files; of several motions a row each."""

    def link(file: str, name: str, ending: str, label: str) -> str:
        return f'<a href="{result_url(result, file)}" download="{name}{ending}">{label}</a>'

    def full(label: str, ending: str) -> str:
        return f"{label} <small>.{ending.rpartition('.')[2]}</small>"

    seeds = result.request.seeds if result.request else []
    row = "".join(link(file, result.name, ending, full(label, ending)) for file, label, ending in ALL)
    if len(seeds) == 1:
        row += "".join(link(file, result.name, ending, full(label, ending)) for file, label, ending in EACH)
        return f'<nav class="downloads">{row}</nav>'
    rows = [row]
    for number, seed in enumerate(seeds):
        name = f"{result.name}_{seed}" if number else result.name
        links = (
            link(numbered(file, number), name, ending, ending[1:].removesuffix(".npy")) for file, _, ending in EACH
        )
        rows.append(f"<p>seed {seed}</p>{''.join(links)}{_change(result, number, 'change it')}")
    return "".join(f'<nav class="downloads">{row}</nav>' for row in rows)


def _neighbours(neighbours: tuple[Neighbour, ...], retrieval: bool) -> str:
    if not neighbours:
        return f"<p class='faint'>{'No library is loaded.' if retrieval else 'Retrieval was switched off.'}</p>"
    rows = "".join(
        f"<li>{''.join(map(_caption, each.captions))}"
        f'<span class="facts">{escape(each.motion_id)} · {each.score:.2f}'
        f"{' · <b>used</b>' if each.used else ''}</span></li>"
        for each in neighbours
    )
    return f'<ol class="neighbours">{rows}</ol>'
