"""The tabs beside the prompt: a story on a time line, and a motion that is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from pipeline.app import scripts
from pipeline.app.clips import KINDS, sent
from pipeline.app.markup import spoken
from pipeline.app.requests import MAX_SEED, EditRequest, MotionRequest, StoryRequest, part_choices

if TYPE_CHECKING:
    from pipeline.app.page import Page, Progress

FIRST = ((0, 4, "", "a person walks forward"), (4, 7, "", "a person jumps"), (1, 4, "arms", "a person waves"))
STORY_BOARD = """<div class="board"><div class="lanes"></div><ol class="scenes"></ol></div>"""
MARK_BOARD = """<div class="board"><p class="source"></p>
<label class="file">A motion file of yours, {kinds}: at most {megabytes:g} MB and {seconds:g} s. It stays as long as
this page.
<input type="file" accept="{accepted}"></label>
<div class="marking" hidden><div class="lanes"></div><div class="times"></div>
<div class="chips"><p></p></div></div></div>"""


class Directing:
    """Boards, buttons and events of stories and changes.

    Args:
        page: whose form they are part of.
    """

    def __init__(self, page: Page) -> None:
        self.page, self.session = page, page.session
        form, limits = page.spec.format, self.session.options.limits
        self.parts = part_choices(form)
        first = "arms" if "arms" in self.parts else (*self.parts[1:], "")[0]
        order = ["", first, *(each for each in self.parts[1:] if each != first)]
        self.settings = {
            "parts": [(name, spoken(name)) for name in dict.fromkeys(order)],
            "unit": page.unit,
            "limit": limits.seconds,
            "most": limits.scenes,
            "first": [each for each in FIRST if each[2] in self.parts and each[1] <= limits.seconds][: limits.scenes],
        }

    def build_story(self) -> None:
        """The time line."""
        gr.HTML(STORY_BOARD, elem_id="story-board", js_on_load=scripts.board("story", self.settings))

    def build_edit(self) -> None:
        """What is changed, and how."""
        uploads = self.session.options.uploads
        told = {"megabytes": uploads.clip_megabytes, "seconds": uploads.clip_seconds}
        told |= {"kinds": ", ".join(KINDS), "accepted": ",".join(KINDS)}
        self.mark = gr.HTML(
            MARK_BOARD.format(**told),
            elem_id="mark-board",
            js_on_load=scripts.board("mark", self.settings) + scripts.CHOSEN,
        )
        self.prompt = gr.Textbox(label="What is to be seen", placeholder="a person waves", lines=2, max_lines=6)
        self.chosen = gr.Dropdown(
            [(spoken(name), name) for name in self.parts], value="", label="Body parts that are drawn anew"
        )
        self.strength = gr.Slider(0, 1, value=1, step=0.05, label="Strength", info="less keeps more of what was there")

    def build_buttons(self) -> None:
        """Two a tab."""
        with gr.Row(elem_classes=["buttons", "for-story"]):
            self.tell = gr.Button("Tell the story", variant="primary", elem_classes="first", min_width=0, scale=2)
            self.tell_again = gr.Button("Another seed", elem_classes="second", min_width=0)
        with gr.Row(elem_classes=["buttons", "for-edit"]):
            self.change = gr.Button("Change the motion", variant="primary", elem_classes="first", min_width=0, scale=2)
            self.change_again = gr.Button("Another seed", elem_classes="second", min_width=0)

    def connect(self, works: dict[str, Any], seen: list[gr.HTML]) -> list[Any]:
        """The events that answer with a result."""
        page, how = self.page, [self.page.retrieval, self.page.seed, self.page.cond_scale, self.page.time_steps]
        story = [page.token, *how]
        edit = [page.token, page.start, page.end, self.prompt, self.chosen, self.strength, *how]
        asked = []
        for button, step in ((self.tell, 0), (self.tell_again, 1)):
            js = scripts.script(scripts.SCENES, SEEDS=MAX_SEED + 1, SEED=story.index(page.seed), STEP=step)
            asked.append(button.click(self.tell_story, story, [*seen, page.seed], js=js, **works))
        for button, step in ((self.change, 0), (self.change_again, 1)):
            js = scripts.script(scripts.CHANGES, SEEDS=MAX_SEED + 1, SEED=edit.index(page.seed), STEP=step)
            asked.append(button.click(self.edit, edit, [*seen, page.seed], js=js, **works))
        opened = self.mark.click(
            self.open_source, [page.token, page.wrong], seen, js=page.sending("#mark-board input[type=file]"), **works
        )
        opened.then(None, None, None, js="() => direct.opened()")
        return [*asked, opened]

    def shown(self, request: MotionRequest | None) -> tuple[Any, ...]:
        """Tab, prompt, parts and strength as they were when a result was made."""
        kinds = {MotionRequest: "prompt", StoryRequest: "story", EditRequest: "edit"}
        tab = gr.update(selected=kinds[type(request)]) if request else gr.skip()
        if isinstance(request, EditRequest):
            return tab, request.prompt, request.parts, request.strength
        return tab, *[gr.skip()] * 3

    def tell_story(
        self,
        scenes: Any,
        retrieval: Any,
        seed: Any,
        cond_scale: Any,
        time_steps: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for the default)
    ) -> tuple[Any, ...]:
        """Result, history, message and seed."""
        values = {
            "scenes": scenes, "seed": seed, "cond_scale": cond_scale, "time_steps": time_steps, "retrieval": retrieval,
        }  # fmt: skip

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.tell(tell, visitor, **values)
            return *self.page.in_view(visitor, result), "", result.request.seed

        return self.page.answered(answer, request, progress, 4, 2)

    def edit(
        self,
        source: Any,
        start: Any,
        end: Any,
        prompt: Any,
        parts: Any,
        strength: Any,
        retrieval: Any,
        seed: Any,
        cond_scale: Any,
        time_steps: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Result, history, message and seed."""
        values = {
            "source": source, "start": start, "end": end, "prompt": prompt, "parts": parts, "strength": strength,
            "seed": seed, "cond_scale": cond_scale, "time_steps": time_steps, "retrieval": retrieval,
        }  # fmt: skip

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.edit(tell, visitor, **values)
            return *self.page.in_view(visitor, result), "", result.request.seed

        return self.page.answered(answer, request, progress, 4, 2)

    def open_source(
        self,
        token: Any,
        wrong: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Result, history and message."""

        def answer(tell: Progress, visitor: str) -> tuple[Any, ...]:
            result = self.session.open_source(sent(token, wrong), tell, visitor)
            return *self.page.in_view(visitor, result), ""

        return self.page.answered(answer, request, progress, 3, 2)
