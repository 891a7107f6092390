"""What the page does without its server, in JavaScript: words in capitals are replaced when the page is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

DIRECT = files(__package__).joinpath("direct.js").read_text(encoding="utf-8")  # ours

# Of parts of the page whose buttons name a prompt or a result: remembers which was clicked, then Gradio's event runs.
CLICKED = """element.addEventListener("click", event => {
  const button = event.target.closest("[data-picked]");
  if (!button) return;
  window.picked = button.dataset.picked;
  trigger("click");
});"""
PICKED = "() => window.picked"

# Characters as Python counts them, not UTF-16 units.
COUNT = """text => {
  const count = [...text].length;
  return count ? `<span class="${count > LIMIT ? "over" : ""}">${count} of LIMIT characters</span>` : "";
}"""

# The form's values with the seed that follows those in view.
ANOTHER = """(...values) => {
  values[SEED] = (Number(values[SEED]) + Number(values[MOTIONS])) % SEEDS;
  return values;
}"""

# The story's scenes, or what is changed, in the places of the first values; and the seed, or the one that follows it.
SCENES = """(scenes, ...values) => {
  values[SEED - 1] = (Number(values[SEED - 1]) + STEP) % SEEDS;
  return [direct.scenes(), ...values];
}"""
CHANGES = """(source, start, end, ...values) => {
  values[SEED - 3] = (Number(values[SEED - 3]) + STEP) % SEEDS;
  return [...direct.changes(), ...values];
}"""
TAKEN = "(prompt, change) => direct.picked(prompt, change)"

# A file is sent as soon as it is chosen.
CHOSEN = """element.querySelector("input[type=file]").addEventListener("change", event => {
  if (event.target.files.length) trigger("click");
});
"""

# On a narrow page the result is below the form, and so is what is wrong with it.
REVEAL = """() => {
  direct.answered(RESTORE);
  if (document.querySelector("#message .message")) return;
  const output = document.getElementById("output");
  if (output && output.getBoundingClientRect().top > innerHeight / 2) output.scrollIntoView({ behavior: "smooth" });
}"""

# Sends the chosen file: its token, or what is wrong, in the places of the first two values.
SEND = """async (token, wrong, ...values) => {
  const file = document.querySelector("CHOOSER")?.files[0];
  if (!file) return ["", "choose a file first", ...values];
  if (file.size > LARGEST) return ["", "the file is larger than MEGABYTES MB: cut the clip", ...values];
  try {
    const headers = { "content-type": "application/octet-stream", "x-name": encodeURIComponent(file.name.slice(-100)) };
    const answer = await fetch("clips", { method: "POST", body: file, headers });
    const text = await answer.text();
    return answer.ok ? [text, "", ...values] : ["", text, ...values];
  } catch {
    return ["", "the file could not be sent", ...values];
  }
}"""


def board(name: str, settings: Mapping[str, Any]) -> str:
    """What draws a board as soon as it and the page's script are there."""
    return f"{DIRECT}\ndirect.{name}(element, {json.dumps(settings)});\n"


def script(source: str, **words: object) -> str:
    """A script with its words in capitals replaced."""
    for word, value in words.items():
        source = source.replace(word, str(value))
    return source
