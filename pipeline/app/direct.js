// The boards of the page: scenes on a time line, and what is drawn anew of a motion. Both are drawn from `direct`, which
// outlives them; Gradio makes a tab's content when it is opened. Words of visitors are text everywhere, never markup.
window.direct ??= (() => {
  const state = { scenes: null, source: null, section: [0, 0], focused: -1 };
  const boards = {};
  const round = value => Math.round(value * 100) / 100;
  const tidy = value => (Number.isFinite(value) ? round(value) : null);

  function make(tag, settings = {}, ...children) {
    const element = Object.assign(document.createElement(tag), settings);
    for (const [name, value] of Object.entries(settings.data ?? {})) element.dataset[name] = value;
    for (const [name, value] of Object.entries(settings.aria ?? {})) element.setAttribute(`aria-${name}`, value);
    element.append(...children);
    return element;
  }
  const number = (value, label, change, step) =>
    make("input", {
      type: "number", step, value: value ?? "", inputMode: "decimal", aria: { label },
      oninput: event => change(event.target.value === "" ? NaN : Number(event.target.value)),
    });
  const place = (element, scale, start, end) => {
    const share = value => (100 * (Math.min(Math.max(value || 0, scale[0]), scale[1]) - scale[0])) / (scale[1] - scale[0]);
    element.style.left = `${share(start)}%`;
    element.style.width = `${Math.max(share(end) - share(start), 0.5)}%`;
  };
  function axis(scale) {
    const step = [1, 2, 5, 10, 20, 60, 120].find(each => (scale[1] - scale[0]) / each <= 8) ?? 300;
    const ticks = [];
    for (let at = Math.ceil(scale[0] / step) * step; at < scale[1]; at += step) {
      const tick = make("span", { textContent: `${at} s` });
      place(tick, scale, at, at);
      ticks.push(tick);
    }
    return make("div", { className: "axis", aria: { hidden: true } }, ...ticks);
  }
  // Moves a block or one of its ends while the pointer is down; `change(start, end)` is called as it goes.
  function drag(event, block, scale, unit, [start, end], least, most, change, done) {
    if (event.button) return;
    const box = block.getBoundingClientRect(), track = block.parentElement.getBoundingClientRect();
    const inside = event.clientX - box.left, edge = Math.min(9, box.width / 3);
    const ends = inside < edge ? [1, 0] : inside > box.width - edge ? [0, 1] : [1, 1];
    const second = (scale[1] - scale[0]) / track.width, from = event.clientX;
    let moved = false;
    block.setPointerCapture(event.pointerId);
    block.onpointermove = now => {
      let by = Math.round(((now.clientX - from) * second) / unit) * unit;
      moved ||= Math.abs(now.clientX - from) > 3;
      if (!moved) return;
      if (ends[0]) by = Math.max(by, least - start);
      if (ends[1]) by = Math.min(by, most - end);
      const next = [start + by * ends[0], end + by * ends[1]];
      if (next[1] - next[0] > unit / 2) change(round(next[0]), round(next[1]));
    };
    block.onpointerup = block.onpointercancel = () => {
      block.onpointermove = block.onpointerup = block.onpointercancel = null;
      done(moved);
    };
  }

  // Scenes

  const told = parts => boards.story.parts.find(each => each[0] === parts)?.[1] ?? parts;
  const ofTrack = parts => state.scenes.filter(scene => scene.parts === parts);
  function addScene(parts) {
    const { limit, unit } = boards.story;
    const last = Math.max(0, ...ofTrack(parts).map(scene => scene.end || 0));
    const start = Math.min(last, limit - unit), whole = Math.max(0, ...ofTrack("").map(scene => scene.end || 0));
    const end = parts && whole > start ? Math.min(start + 3, whole) : Math.min(start + 3, limit);
    state.scenes.push({ start: round(start), end: round(end), parts, text: "" });
    drawStory();
    boards.story.element.querySelector(".scenes li:last-child .text").focus();
  }
  function drawLanes() {
    const { element, parts, limit, unit } = boards.story;
    const end = Math.max(8, ...state.scenes.map(scene => scene.end || 0));
    const scale = [0, Math.min(end * 1.08, limit)];
    const tracks = parts.map(each => each[0]).filter((each, n) => n < 2 || ofTrack(each).length);
    element.querySelector(".lanes").replaceChildren(
      ...tracks.map(track => {
        const line = make("div", { className: "track" });
        state.scenes.forEach((scene, n) => {
          if (scene.parts !== track) return;
          const block = make(
            "button",
            {
              type: "button", className: `stretch ${scene.parts && "part"} ${scene.wrong ? "wrong" : ""}`,
              title: `${scene.start} to ${scene.end} s: ${scene.text}`, textContent: `${n + 1} ${scene.text}`, data: { scene: n },
              onpointerdown: event =>
                drag(event, block, scale, unit, [scene.start, scene.end], 0, limit, (start, finish) => {
                  Object.assign(scene, { start, end: finish });
                  place(block, scale, start, finish);
                  const inputs = element.querySelectorAll(`.scenes li:nth-child(${n + 1}) [type=number]`);
                  [inputs[0].value, inputs[1].value] = [start, finish];
                }, moved => (moved ? drawLanes() : element.querySelectorAll(".scenes .text")[n].focus())),
              onclick: event => event.detail || element.querySelectorAll(".scenes .text")[n].focus(),
            },
          );
          place(block, scale, scene.start, scene.end);
          line.append(block);
        });
        const add = make("button", {
          type: "button", className: "plus", textContent: "+ scene", aria: { label: `Add a scene: ${told(track)}` },
          onclick: () => addScene(track), disabled: state.scenes.length >= boards.story.most,
        });
        return make("div", { className: "lane" }, make("span", { textContent: told(track) }), add, line);
      }),
      axis(scale),
    );
  }
  function drawStory() {
    if (!boards.story?.element.isConnected) return;
    const { element, parts, unit } = boards.story;
    const set = (scene, name) => value => {
      scene[name] = value;
      drawLanes();
    };
    element.querySelector(".scenes").replaceChildren(
      ...state.scenes.map((scene, n) => {
        const chosen = make(
          "select",
          { aria: { label: `Body parts of scene ${n + 1}` }, onchange: event => set(scene, "parts")(event.target.value) },
          ...parts.map(([value, textContent]) => make("option", { value, textContent, selected: value === scene.parts })),
        );
        const remove = make("button", {
          type: "button", className: "remove", textContent: "×", title: "Remove", aria: { label: `Remove scene ${n + 1}` },
          onclick: () => (state.scenes.splice(n, 1), drawStory()),
        });
        const text = make("input", {
          className: "text", value: scene.text, placeholder: "a person waves", aria: { label: `What happens in scene ${n + 1}` },
          oninput: event => set(scene, "text")(event.target.value), onfocus: () => (state.focused = n),
        });
        const times = make(
          "div", { className: "times" }, make("b", { textContent: n + 1, className: scene.parts && "part" }),
          number(scene.start, `Start of scene ${n + 1}`, set(scene, "start"), unit), "to",
          number(scene.end, `End of scene ${n + 1}`, set(scene, "end"), unit), "s", chosen, remove,
        );
        const said = scene.wrong ? [make("p", { className: "wrong", textContent: scene.wrong, role: "alert" })] : [];
        return make("li", {}, times, text, ...said);
      }),
    );
    drawLanes();
  }

  // What is changed

  function setSection(start, end) {
    state.section = [start, end];
    drawMark();
  }
  function drawMark() {
    if (!boards.mark?.element.isConnected) return;
    const { element, unit, limit } = boards.mark, { source } = state;
    element.querySelector(".source").replaceChildren(
      ...(source
        ? [make("b", { textContent: source.name }), ` ${source.seconds} s`]
        : ["Make a motion, or choose a file: then mark what is to be drawn anew."]),
    );
    element.querySelector(".marking").hidden = !source;
    if (!source) return;
    const inputs = element.querySelectorAll("[type=number]");
    state.section.forEach((value, n) => inputs[n] === document.activeElement || (inputs[n].value = value ?? ""));
    drawRange();
    function drawRange() {
      const [start, end] = state.section, scale = [Math.min(0, start || 0), Math.max(source.seconds, end || 0)];
      const kept = make("div", { className: "kept" }), drawn = make("button", { type: "button", className: "stretch", textContent: "drawn anew" });
      place(kept, scale, 0, source.seconds);
      place(drawn, scale, start, end);
      drawn.setAttribute("aria-label", `Drawn anew: ${start} to ${end} s`);
      drawn.onpointerdown = event =>
        drag(event, drawn, scale, unit, state.section, scale[0], scale[1], (from, to) => {
          state.section = [from, to];
          place(drawn, scale, from, to);
          [inputs[0].value, inputs[1].value] = [from, to];
        }, () => drawMark());
      element.querySelector(".lanes").replaceChildren(make("div", { className: "track" }, kept, drawn), axis(scale));
    }
    const third = Math.round(source.seconds / 3 / unit) * unit;
    const more = Math.min(3, limit - source.seconds);
    const chips = { "all of it": [0, source.seconds], "the middle": [third, source.seconds - third] };
    if (more > unit) chips["how it goes on"] = [source.seconds, source.seconds + more];
    if (more > unit) chips["how it begins"] = [-more, 0];
    element.querySelector(".chips p").replaceChildren(
      ...Object.entries(chips).map(([textContent, range]) =>
        make("button", { type: "button", textContent, onclick: () => setSection(...range.map(round)) })),
    );
  }
  function setSource({ source, name, seconds }, pinned, section) {
    const same = state.source?.source === source;
    state.source = { source, name, seconds: Number(seconds), pinned: pinned || (same && state.source.pinned) };
    if (section) state.section = section;
    else if (!same) state.section = [0, state.source.seconds];
    drawMark();
  }
  const inView = () => document.querySelector("#result [data-source]")?.dataset;

  const tabOf = kind => document.querySelector(`#kinds [role=tab][data-tab-id=${kind}]`);
  const kind = () => document.querySelector("#kinds [role=tab][aria-selected=true]")?.dataset.tabId ?? "prompt";
  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-source]");
    if (button) {
      setSource(button.dataset, true);
      tabOf("edit")?.click();
      document.getElementById("kinds").scrollIntoView({ block: "nearest", behavior: "smooth" });
    }
  });

  return {
    story(element, settings) {
      boards.story = { element, ...settings };
      state.scenes ??= settings.first.map(([start, end, parts, text]) => ({ start, end, parts, text }));
      drawStory();
    },
    mark(element, settings) {
      boards.mark = { element, ...settings };
      element.querySelector(".times").replaceChildren(
        "from", number(0, "Start of what is drawn", value => setSection(value, state.section[1]), settings.unit),
        "to", number(0, "End of what is drawn", value => setSection(state.section[0], value), settings.unit), "s",
      );
      if (!state.source && inView()) setSource(inView(), false);
      drawMark();
    },
    // What the events send.
    scenes: () => JSON.stringify((state.scenes ?? []).map(({ start, end, parts, text }) => [tidy(start), tidy(end), parts, text])),
    changes() {
      if (state.source) state.source.pinned = true;
      return [state.source?.source ?? "", ...state.section.map(tidy)];
    },
    // After an answer: the motion in view is what would be changed, unless another one was chosen; a message about a
    // scene stands at the scene.
    answered(restore) {
      const article = document.querySelector("#result article"), said = document.querySelector("#message .message")?.textContent ?? "";
      const form = JSON.parse(article?.dataset.form ?? "{}");
      if (restore && form.scenes) state.scenes = form.scenes.map(([start, end, parts, text]) => ({ start, end, parts, text }));
      if (restore && form.source) setSource(form, true, form.section);
      else if (!state.source?.pinned && inView()) setSource(inView(), false);
      const wrong = /^Scene (\d+): (.*)$/s.exec(said);
      state.scenes?.forEach((scene, n) => (scene.wrong = wrong && Number(wrong[1]) === n + 1 ? wrong[2] : ""));
      if (boards.story) drawStory();
    },
    opened() {
      boards.mark.element.querySelector("[type=file]").value = "";
      if (!document.querySelector("#message .message") && inView()) setSource(inView(), true);
    },
    // A caption that was clicked: the texts of the prompt and of the change, one of them new, or that of a scene.
    picked(prompt, change) {
      if (kind() === "edit") return [prompt, window.picked];
      if (kind() === "prompt") return [window.picked, change];
      const scene = state.scenes[Math.max(state.focused, 0)];
      if (scene) scene.text = window.picked;
      drawStory();
      return [prompt, change];
    },
  };
})();
