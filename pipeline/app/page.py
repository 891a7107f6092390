"""The page: a form on the left, the result on the right. Gradio draws the form and carries the request."""

from __future__ import annotations

import json
import logging
from typing import Any

import gradio as gr

from models.configs import SamplingSettings
from pipeline.app.markup import EMPTY, show_error, show_result, show_words
from pipeline.app.requests import MAX_SEED
from pipeline.app.session import AppSession
from pipeline.app.visitors import VisitorLeft
from utils.errors import UserError

EXAMPLES = (
    "a person walks in a circle",
    "a man waves with his right hand",
    "someone jumps, then sits down",
)
# Runs in the page: characters as Python counts them, not UTF-16 units.
COUNT = """(text) => {
  const count = [...text].length;
  return count ? `<span class="${count > LIMIT ? "over" : ""}">${count} of LIMIT characters</span>` : "";
}"""
FAILED = UserError("something went wrong on the server: its log says what")


def make_theme() -> gr.themes.Base:
    """Gradio's plain theme in the colours of the 3D view, with the system's fonts: nothing comes from the web."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.slate,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        # White on Gradio's own orange is hard to read.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def build_page(session: AppSession) -> gr.Blocks:
    """The form and its one event."""
    spec, limits = session.t2m.spec, session.options.limits
    estimates = session.t2m.length_estimator is not None
    unit, defaults = spec.format.unit_length / spec.format.fps, SamplingSettings()
    lowest = -(-spec.min_frames // spec.format.unit_length) * unit

    def generate(
        prompt: Any,
        estimated: Any,
        seconds: Any,
        retrieval: Any,
        seed: Any,
        cond_scale: Any,
        time_steps: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for the default)
    ) -> tuple[Any, Any]:
        """Result and message; a failed request leaves the result before it in place."""
        check = session.visitors.watch(request.session_hash)

        def tell(share: float, what: str) -> None:
            check()
            progress(share, desc=what)

        try:
            result = session.generate(
                tell,
                prompt=prompt,
                motion_length=None if estimated is True else frames_of(seconds),
                seed=seed,
                cond_scale=cond_scale,
                time_steps=time_steps,
                retrieval=retrieval,
            )
        except UserError as error:
            return gr.skip(), show_error(error)
        except VisitorLeft:
            return gr.skip(), gr.skip()
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            return gr.skip(), show_error(FAILED)
        return show_result(result), ""

    def frames_of(seconds: Any) -> Any:
        number = isinstance(seconds, (int, float)) and abs(seconds) < 1e6  # NaN and the rest are refused later
        return round(seconds * spec.format.fps) if number else seconds

    with gr.Blocks(title="ReMoMask", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            "<h1>ReMoMask</h1><p>Text to human motion, helped by motions that are looked up in a library of"
            f" {len(session.t2m.database) if session.t2m.database else 0:,}.</p>",
            elem_id="heading",
        )
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="form", min_width=300, scale=1):
                with gr.Column(elem_id="prompt-block"):
                    prompt = gr.Textbox(label="Motion", placeholder="a person waves", lines=3, max_lines=6)
                    count = gr.HTML(elem_id="count")
                with gr.Row(elem_id="examples"):
                    for text in EXAMPLES:
                        example = gr.Button(text, size="sm", min_width=0)
                        example.click(None, None, [prompt], js=f"() => {json.dumps(text)}")
                estimated = gr.Checkbox(estimates, label="Length from the text", interactive=estimates)
                seconds = gr.Slider(
                    lowest,
                    spec.max_frames / spec.format.fps,
                    value=round(spec.max_frames * 0.7 / spec.format.unit_length) * unit,
                    step=unit,
                    label="Length in seconds",
                    visible=not estimates,
                )
                if session.t2m.remarks is not None:
                    with gr.Accordion("Words that are known", open=False, elem_id="words"):
                        gr.HTML(show_words(session.t2m.remarks.vocabulary.counts))
                with gr.Accordion("Sampling", open=False):
                    retrieval = gr.Checkbox(True, label="Use retrieved motions")
                    seed = gr.Number(
                        0,
                        label="Seed",
                        info="The same seed gives the same motion",
                        precision=0,
                        minimum=0,
                        maximum=MAX_SEED,
                    )
                    cond_scale = gr.Slider(
                        0, limits.max_cond_scale, value=defaults.cond_scale, step=0.1, label="Guidance"
                    )
                    time_steps = gr.Slider(1, limits.max_time_steps, value=defaults.time_steps, step=1, label="Steps")
                button = gr.Button("Generate", variant="primary", elem_id="generate")
                message = gr.HTML(elem_id="message")
            with gr.Column(elem_id="output", min_width=320, scale=3):
                result = gr.HTML(EMPTY, elem_id="result")
        prompt.change(None, [prompt], [count], js=COUNT.replace("LIMIT", str(limits.max_prompt_length)))
        estimated.change(None, [estimated], [seconds], js="on => ({ __type__: 'update', visible: !on })")
        gr.on(
            [button.click, prompt.submit],
            generate,
            [prompt, estimated, seconds, retrieval, seed, cond_scale, time_steps],
            [result, message],
            show_progress_on=result,
            # One at a time is the session's business, and so is turning others away: both with a clear message.
            concurrency_limit=session.line.limit + 2,
            api_visibility="private",
            preprocess=False,  # the session checks the values, and says in the page what is wrong with them
        )
    page.queue(max_size=2 * session.line.limit + 8)
    return page
