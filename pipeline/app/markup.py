"""Results and messages as HTML. Every word of a visitor or of the library is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from models.vocabulary.known import Remark
from models.vocabulary.words import grouped
from pipeline.app.session import Neighbour, Result
from utils.errors import UserError

DOWNLOADS = (  # file, what it is, how the downloaded file's name ends
    ("motion.mp4", "Video", ".mp4"),
    ("motion.bvh", "Animation", ".bvh"),
    ("motion.glb", "3D model", ".glb"),
    ("joints.npy", "Joints", "_joints.npy"),
    ("features.npy", "Features", "_features.npy"),
    ("viewer.html", "3D page", ".html"),
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
    """The 3D view, the video, the downloads and what was retrieved."""
    motion, request = result.motion, result.request
    facts = [f"{len(motion.joints) / motion.fps:.1f} s", f"{len(motion.joints)} frames", f"seed {motion.seed}"]
    facts += [f"guidance {request.cond_scale:g}", f"{request.time_steps} steps"]
    links = "".join(
        f'<a href="{result_url(result, file)}" download="{result.name}{ending}">'
        f"{label} <small>.{ending.rpartition('.')[2]}</small></a>"
        for file, label, ending in DOWNLOADS
    )
    shown = sum(each.joints is not None for each in result.neighbours)
    return f"""
<article class="result">
  <header><h2>{escape(motion.text)}</h2><p>{" · ".join(facts)}</p></header>{show_remark(motion.remark)}
  <iframe class="viewer{" with-others" if shown else ""}" title="3D view" sandbox="allow-scripts"
    src="{result_url(result, "viewer.html")}"></iframe>
  <div class="below">
    <section><h3>Video</h3>
      <video src="{result_url(result, "motion.mp4")}" controls loop muted autoplay playsinline></video></section>
    <section><h3>Retrieved from the library</h3>{_neighbours(result.neighbours, request.retrieval)}
      <h3>Downloads</h3><nav class="downloads">{links}</nav></section>
  </div>
</article>"""


def show_remark(remark: Remark | None) -> str:
    """What the models do not know of the prompt."""
    if remark is None:
        return ""
    text = str(remark)
    return f'<p class="remark" role="note">{escape(text[:1].upper() + text[1:])}</p>'


def show_words(counts: Mapping[str, int]) -> str:
    """The words that the library's captions hold, those of one kind together."""
    kinds = (f"<h4>{escape(kind)}</h4><p>{_words(words)}</p>" for kind, words in grouped(counts).items())
    return f'<div class="words">{"".join(kinds)}</div>'


def _words(words: list[tuple[str, int]]) -> str:
    shown = ", ".join(escape(word.split("/")[0]) for word, _ in words[:MOST_WORDS])
    return f"{shown} and {len(words) - MOST_WORDS:,} more" if len(words) > MOST_WORDS else shown


def show_error(error: UserError) -> str:
    """One clear message."""
    text = str(error)
    return f'<div class="message" role="alert">{escape(text[:1].upper() + text[1:])}.</div>'


def _neighbours(neighbours: tuple[Neighbour, ...], retrieval: bool) -> str:
    if not neighbours:
        return f"<p class='faint'>{'No library is loaded.' if retrieval else 'Retrieval was switched off.'}</p>"
    rows = "".join(
        f'<li><span class="caption">{escape(each.caption)}</span>'
        f'<span class="facts">{escape(each.motion_id)} · {each.score:.2f}'
        f"{' · <b>used</b>' if each.used else ''}</span></li>"
        for each in neighbours
    )
    return f'<ol class="neighbours">{rows}</ol>'
