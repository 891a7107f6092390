"""The page: a form on the left, the result on the right. Gradio draws the form and carries the requests."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from models.configs import SamplingSettings
from models.vocabulary.examples import examples
from pipeline.app import scripts
from pipeline.app.clips import KINDS, sent
from pipeline.app.directing import Directing
from pipeline.app.markup import (
    EMPTY,
    show_chips,
    show_clips,
    show_error,
    show_examples,
    show_history,
    show_result,
    show_words,
)
from pipeline.app.requests import MAX_SEED, MotionRequest
from pipeline.app.rooms import Result
from pipeline.app.session import AppSession
from pipeline.app.visitors import VisitorLeft
from utils.errors import UserError

FIRST = 3  # examples that are always in view
FAILED = UserError("something went wrong on the server: its log says what")
Progress = Callable[[float, str], None]


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


class Page:
    """The form and its events.

    Args:
        session: does what visitors ask for.
    """

    def __init__(self, session: AppSession) -> None:
        self.session, self.spec = session, session.t2m.spec
        self.unit = self.spec.format.unit_length / self.spec.format.fps
        self.directing = Directing(self)

    def build(self) -> gr.Blocks:
        """The page, whose events are answered by this object's methods."""
        t2m = self.session.t2m
        with gr.Blocks(title="ReMoMask", analytics_enabled=False, fill_width=True) as page:
            gr.State()  # a page tells that it is open only if there is one
            gr.HTML(
                "<h1>ReMoMask</h1><p>Text to human motion, helped by motions that are looked up in a library of"
                f" {len(t2m.database) if t2m.database else 0:,}.</p>",
                elem_id="heading",
                js_on_load=scripts.DIRECT,
            )
            with gr.Row(elem_id="columns"):
                with gr.Column(elem_id="form", min_width=300, scale=1):
                    self._build_form()
                with gr.Column(elem_id="output", min_width=320, scale=3):
                    self.history = gr.HTML(elem_id="history", js_on_load=scripts.CLICKED)
                    self.result = gr.HTML(EMPTY, elem_id="result", js_on_load=scripts.CLICKED)
            self.token, self.wrong = gr.Textbox(visible=False), gr.Textbox(visible=False)
            self.start, self.end = gr.Number(visible=False), gr.Number(visible=False)
            self._connect()
        page.queue(max_size=2 * self.session.line.limit + 8)
        return page

    def _build_form(self) -> None:
        spec, limits, t2m = self.spec, self.session.options.limits, self.session.t2m
        estimates, defaults = t2m.length_estimator is not None, SamplingSettings()
        lowest = -(-spec.min_frames // spec.format.unit_length) * self.unit
        self.fills: list[gr.HTML] = []

        def chips(content: str, **about: Any) -> None:
            self.fills.append(gr.HTML(content, js_on_load=scripts.CLICKED, **about))

        with gr.Tabs(elem_id="kinds") as self.tabs:
            with gr.Tab("Prompt", id="prompt"), gr.Column(elem_id="prompt-block"):
                self.prompt = gr.Textbox(label="Motion", placeholder="a person waves", lines=3, max_lines=6)
                self.count = gr.HTML(elem_id="count")
            with gr.Tab("Story", id="story"):
                self.directing.build_story()
            with gr.Tab("Change", id="edit"):
                self.directing.build_edit()
        if t2m.remarks is not None:
            counts = t2m.remarks.vocabulary.counts
            known = examples(t2m.database.entries.captions, counts)
            with gr.Column(elem_id="examples"):
                chips(show_chips(known.get("motion", [])[:FIRST]), elem_classes="for-prompt")
                with gr.Accordion("What the models know", open=False, elem_id="words"):
                    chips(show_examples(known))
                    gr.HTML(show_words(counts))
        self.estimated = gr.Checkbox(
            estimates, label="Length from the text", interactive=estimates, elem_classes="for-prompt"
        )
        self.seconds = gr.Slider(
            lowest,
            spec.max_frames / spec.format.fps,
            value=round(spec.max_frames * 0.7 / spec.format.unit_length) * self.unit,
            step=self.unit,
            label="Length in seconds",
            visible=not estimates,
            elem_classes="for-prompt",
        )
        with gr.Row(elem_id="several"):
            self.motions = gr.Radio(
                [*range(1, limits.motions + 1)],
                value=1,
                label="Motions at once",
                min_width=0,
                elem_classes="for-prompt",
            )
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=0)
        with gr.Accordion("Sampling", open=False):
            self.retrieval = gr.Checkbox(True, label="Use retrieved motions")
            self.cond_scale = gr.Slider(0, limits.max_cond_scale, value=defaults.cond_scale, step=0.1, label="Guidance")
            self.time_steps = gr.Slider(1, limits.max_time_steps, value=defaults.time_steps, step=1, label="Steps")
        with gr.Row(elem_classes=["buttons", "for-prompt"]):
            self.button = gr.Button("Generate", variant="primary", elem_classes="first", min_width=0, scale=2)
            self.another = gr.Button("Another seed", elem_classes="second", min_width=0)
        self.directing.build_buttons()
        self.message = gr.HTML(elem_id="message")
        if t2m.database is not None:
            self._build_clips()

    def _build_clips(self) -> None:
        uploads = self.session.options.uploads
        with gr.Accordion("Your own clips", open=False, elem_id="own"):
            gr.HTML(
                f"<label>A motion file, {', '.join(KINDS)}: at most {uploads.clip_megabytes:g} MB and"
                f' {uploads.clip_seconds:g} s<input type="file" accept="{",".join(KINDS)}"></label>',
                elem_id="clip-file",
            )
            self.similar = gr.Button("Find similar motions", min_width=0)
            self.caption = gr.Textbox(label="What it shows", placeholder="a person bows", lines=1)
            self.add = gr.Button("Add to my library", min_width=0)
            gr.HTML(
                "<p>What you add is found and followed by your own prompts only, and is forgotten when you close the"
                " page.</p>",
                elem_id="clip-note",
            )
            self.clips = gr.HTML(elem_id="clip-list")
            self.forget = gr.Button("Forget my clips", size="sm", visible=False)

    def _connect(self) -> None:
        limits, limit = self.session.options.limits, self.session.line.limit + 2
        # One at a time is the session's business, and so is turning others away: both with a clear message. The session
        # checks the values too, and says in the page what is wrong with them.
        common = {"api_visibility": "private", "preprocess": False}
        works = common | {"show_progress_on": self.result, "concurrency_limit": limit, "concurrency_id": "works"}
        quick = common | {"show_progress": "hidden", "concurrency_limit": 4, "concurrency_id": "quick"}
        form = [self.prompt, self.estimated, self.seconds, self.retrieval, self.seed, self.cond_scale, self.time_steps]
        form += [self.motions]
        seen = [self.result, self.history, self.message]
        places = {"SEEDS": MAX_SEED + 1, "SEED": form.index(self.seed), "MOTIONS": form.index(self.motions)}
        asked = [
            gr.on([self.button.click, self.prompt.submit], self.generate, form, [*seen, self.seed], **works),
            self.another.click(
                self.generate, form, [*seen, self.seed], js=scripts.script(scripts.ANOTHER, **places), **works
            ),
            *self.directing.connect(works, seen),
        ]
        directed = [self.tabs, self.directing.prompt, self.directing.chosen, self.directing.strength]
        again = self.history.click(self.show, [self.token], [*seen, *form, *directed], js=scripts.PICKED, **quick)
        again.then(None, None, None, js=scripts.script(scripts.REVEAL, RESTORE="true"))
        texts = [self.prompt, self.directing.prompt]
        for each in (*self.fills, self.result):
            each.click(None, texts, texts, js=scripts.TAKEN)
        self.prompt.change(
            None, [self.prompt], [self.count], js=scripts.script(scripts.COUNT, LIMIT=limits.max_prompt_length)
        )
        self.estimated.change(None, [self.estimated], [self.seconds], js="on => ({ __type__: 'update', visible: !on })")
        if self.session.t2m.database is not None:
            send = self.sending("#clip-file input")
            mine = [self.clips, self.forget]
            sent = [self.token, self.wrong]
            asked.append(self.similar.click(self.find_similar, sent, seen, js=send, **works))
            self.add.click(
                self.add_clip, [*sent, self.caption], [*mine, self.message, self.caption], js=send,
                **works | {"show_progress_on": self.clips},
            )  # fmt: skip
            self.forget.click(self.forget_clips, None, [*mine, self.message], **quick)
        for each in asked:
            each.then(None, None, None, js=scripts.script(scripts.REVEAL, RESTORE="false"))

    def sending(self, chooser: str) -> str:
        """The script that sends the file of an input, which a selector finds."""
        largest, megabytes = self.session.uploads.largest, self.session.options.uploads.clip_megabytes
        return scripts.script(scripts.SEND, LARGEST=largest, MEGABYTES=f"{megabytes:g}", CHOOSER=chooser)

    def generate(
        self,
        prompt: Any,
        estimated: Any,
        seconds: Any,
        retrieval: Any,
        seed: Any,
        cond_scale: Any,
        time_steps: Any,
        motions: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for the default)
    ) -> tuple[Any, ...]:
        """Result, history, message and seed; a failed request leaves the result before it in place."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.generate(
                tell,
                visitor,
                prompt=prompt,
                motion_length=None if estimated is True else self._frames_of(seconds),
                seed=seed,
                cond_scale=cond_scale,
                time_steps=time_steps,
                retrieval=retrieval,
                motions=motions,
            )
            return *self.in_view(visitor, result), "", result.request.seed

        return self.answered(answer, request, progress, 4, 2)

    def show(self, token: Any, request: gr.Request) -> tuple[Any, ...]:
        """An earlier result, and the form as it was."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.rooms.find(visitor, token if isinstance(token, str) else "")
            made = result.request
            if made is None:
                return *self.in_view(visitor, result), "", *[gr.skip()] * 12
            sampled = (made.retrieval, made.seed, made.cond_scale, made.time_steps)
            length = made.motion_length
            seconds = gr.skip() if length is None else length / self.spec.format.fps
            plain = type(made) is MotionRequest
            text = (made.prompt, length is None, seconds) if plain else [gr.skip()] * 3
            motions = made.motions if plain else gr.skip()
            return *self.in_view(visitor, result), "", *text, *sampled, motions, *self.directing.shown(made)

        return self.answered(answer, request, None, 15, 2)

    def find_similar(
        self,
        token: Any,
        wrong: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Result, history and message."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.find_similar(sent(token, wrong), tell, visitor)
            return *self.in_view(visitor, result), ""

        return self.answered(answer, request, progress, 3, 2)

    def add_clip(
        self,
        token: Any,
        wrong: Any,
        caption: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """The visitor's clips, the button that forgets them, message and an empty caption."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            self.session.add_clip(sent(token, wrong), caption, tell, visitor)
            return *self._mine(visitor), "", ""

        return self.answered(answer, request, progress, 4, 2)

    def forget_clips(self, request: gr.Request) -> tuple[Any, ...]:
        """The visitor's clips, the button, and message."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            self.session.rooms.forget_clips(visitor)
            return *self._mine(visitor), ""

        return self.answered(answer, request, None, 3, 2)

    def answered(
        self,
        answer: Callable[[Progress, str], tuple[Any, ...]],
        request: gr.Request,
        progress: gr.Progress | None,
        count: int,
        place: int,
    ) -> tuple[Any, ...]:
        """What `answer` gives, `count` values; where it fails a message at `place`, and all else stays as it is."""
        visitor = request.session_hash or ""
        check = self.session.visitors.watch(visitor)

        def tell(share: float, what: str) -> None:
            check()
            if progress is not None:
                progress(share, desc=what)

        unchanged = [gr.skip()] * count
        try:
            return answer(tell, visitor)
        except UserError as error:
            unchanged[place] = show_error(error)
        except VisitorLeft:
            pass
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            unchanged[place] = show_error(FAILED)
        return tuple(unchanged)

    def in_view(self, visitor: str, result: Result) -> tuple[str, str]:
        """The result and the history as they are shown."""
        return show_result(result), show_history(self.session.rooms.results(visitor), result.token)

    def _mine(self, visitor: str) -> tuple[Any, Any]:
        clips = self.session.rooms.clips(visitor)
        return show_clips(clips), gr.update(visible=bool(clips))

    def _frames_of(self, seconds: Any) -> Any:
        number = isinstance(seconds, (int, float)) and abs(seconds) < 1e6  # NaN and the rest are refused later
        return round(seconds * self.spec.format.fps) if number else seconds
