// What the live figures of a page share: window.LIVE. A page with an element that has data-live="name" loads this script; a figure's own
// script, its data and the engine are loaded when the figure comes near the window. The build puts `const FILES = {…}` in front
// of it: under which name, with a hash in it, each of them lies, and how many bytes it has. Without this script, on paper and on slides
// the still picture stays.

const LIVE = (() => {
  "use strict";
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const figures = {}, data = {}, loading = {};

  // --- elements ----------------------------------------------------------------------------------------------------------

  // el("button", {class: "live-go", onclick}, "Go"): attributes by name, handlers as functions, children as nodes or texts.
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(name.slice(2), value);
      else if (name === "value" || name === "checked" || name === "hidden") node[name] = value;
      else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  };
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  let names = 0;
  const unique = () => `live-${++names}`;
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u202f%`;

  // A slider with its name in front and its value, in words, behind: {box, input, set(value)}.
  function slider({ label, min, max, step, value, shown = String, oninput }) {
    const id = unique(), output = el("output", { for: id });
    const input = el("input", { id, type: "range", min, max, step, value, oninput: () => { tell(); oninput(+input.value); } });
    const tell = () => { output.textContent = shown(+input.value); input.setAttribute("aria-valuetext", output.textContent); };
    tell();
    const set = (v) => { input.value = v; tell(); };
    return { box: el("div", { class: "live-slider" }, el("label", { for: id }, label), input, output), input, set };
  }
  // One of several, as a row of radio buttons: {box, value(), set(value)}. Choices are [value, text] or [value, node, name].
  function choice({ label, choices, value, onchange, kind = "live-choice" }) {
    const name = unique(), box = el("fieldset", { class: kind }, el("legend", {}, label));
    for (const [v, shown, spoken] of choices) {
      const input = el("input", { type: "radio", name, value: v, checked: v === value, "aria-label": spoken, onchange: () => onchange(v) });
      box.append(el("label", {}, input, el("span", {}, shown)));
    }
    const inputs = () => [...box.querySelectorAll("input")];
    return { box, value: () => inputs().find((i) => i.checked)?.value, set: (v) => inputs().forEach((i) => { i.checked = i.value === String(v); }) };
  }
  function select({ label, choices, value, onchange }) {
    const id = unique(), input = el("select", { id, onchange: () => onchange(input.value) }, choices.map(([v, text]) => el("option", { value: v }, text)));
    input.value = value;
    return { box: el("div", { class: "live-select" }, el("label", { for: id }, label), input), input, set: (v) => { input.value = v; } };
  }
  const button = (text, onclick, more) => el("button", { type: "button", onclick, ...more }, text);
  // A bar from cat (left) to dog (right), and the two shares in words.
  function bar(name) {
    const cat = el("span", { class: "live-cat" }), dog = el("span", { class: "live-dog" }), part = el("i"), line = el("div", { class: "live-bar", "aria-hidden": "true" }, part);
    const box = el("div", { class: "live-answer", "data-network": name }, el("b", {}, name), cat, dog, line);
    return { box, show(p) {
      const known = p !== null;
      cat.textContent = known ? `cat ${percent(1 - p)}` : "cat –";
      dog.textContent = known ? `dog ${percent(p)}` : "dog –";
      part.style.width = known ? `${100 * (1 - p)}%` : "100%";
      line.classList.toggle("live-empty", !known);
    } };
  }
  // A canvas with the pixels of an RGBA array, side × side unless `height` is given.
  function paint(canvas, rgba, width, height = width) {
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
    return canvas;
  }
  // A pointer that presses and drags on an element: act(x, y) with both from 0 to 1 of its size.
  function drag(node, act, { hover = false } = {}) {
    const at = (event) => {
      const box = node.getBoundingClientRect(), share = (v) => Math.min(Math.max(v, 0), 1 - 1e-9);
      act(share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height));
    };
    node.style.touchAction = "none";
    node.addEventListener("pointerdown", (event) => { node.setPointerCapture(event.pointerId); at(event); });
    node.addEventListener("pointermove", (event) => { if (event.buttons || hover && event.pointerType === "mouse") at(event); });
  }
  // A drawing with one unit a pixel, so that its letters have their size on every screen: draw(width) as often as the width changes, and
  // when redraw() is called. Its height is what draw returns.
  function plot(label, draw) {
    const picture = svg("svg", { role: "img", "aria-label": label }), box = el("div", { class: "live-plot" }, picture);
    let width = 0;
    const redraw = () => { if (width) picture.setAttribute("viewBox", `0 0 ${width} ${Math.round(draw(width, picture))}`); };
    new ResizeObserver(() => { if (Math.round(box.clientWidth) !== width) { width = Math.round(box.clientWidth); redraw(); } }).observe(box);
    return { box, picture, redraw };
  }
  // The arrow keys on an element: act(columns, rows), each -1, 0 or 1; with Shift ten times as far.
  function arrows(node, act) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    node.addEventListener("keydown", (event) => {
      if (!ways[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();  // slides turn on these keys
      const far = event.shiftKey ? 10 : 1;
      act(...ways[event.key].map((d) => d * far));
    });
  }

  // --- files -------------------------------------------------------------------------------------------------------------

  // What a script of ours hands to LIVE.data(name, …), or nothing if it does not; loaded once. A page from a disk may load nothing else.
  const load = (name) => loading[name] ||= new Promise((done, failed) => {
    if (!FILES[name]) return failed(new Error(`this edition of the book has no ${name}`));
    const script = el("script", { src: here + FILES[name][0] });
    script.onload = () => done(data[name]);
    script.onerror = () => { delete loading[name]; script.remove(); failed(new Error(`${FILES[name][0]} could not be loaded`)); };
    document.head.append(script);
  });
  const style = () => loading.style ||= new Promise((done) => document.head.append(el("link", { rel: "stylesheet", href: here + FILES.style[0], onload: done, onerror: done })));

  // --- photos ------------------------------------------------------------------------------------------------------------

  // Pillow's bilinear resizing, as the book's loader has it: each new pixel is a mean of old ones, whose weights fall off like a triangle
  // that is as wide as the picture is reduced. First along rows, then along columns. RGBA, any size, to size × size.
  function resize(pixels, width, height, size) {
    const along = (source, w, h) => {  // one direction; the result lies on its side, so that the second pass is the same
      const out = new Uint8ClampedArray(size * h * 4), scale = w / size, reach = Math.max(scale, 1);
      for (let i = 0; i < size; i++) {
        const middle = (i + 0.5) * scale, from = Math.max(0, Math.trunc(middle - reach + 0.5)), to = Math.min(w, Math.trunc(middle + reach + 0.5));
        const weights = [];
        for (let x = from; x < to; x++) weights.push(Math.max(0, 1 - Math.abs((x - middle + 0.5) / reach)));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let y = 0; y < h; y++)
          for (let c = 0; c < 4; c++) {
            let sum = 0;
            for (let x = from; x < to; x++) sum += source[(y * w + x) * 4 + c] * weights[x - from];
            out[(i * h + y) * 4 + c] = Math.floor(sum / total + 0.5);
          }
      }
      return out;
    };
    return along(along(pixels, width, height), height, size);
  }
  // The pixels of a picture in a file, RGBA size × size: turned as its camera noted, on white, squeezed to a square, as the book's loader does.
  async function pixels(file, size) {
    let image;
    try {
      image = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    } catch {
      throw new Error(`${file.name || "This"} is not a picture that this browser can read. A JPEG, PNG or WebP file is.`);
    }
    try {
      const { width, height } = image, start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
      // The loader has a large JPEG decoded at a half, a quarter or an eighth of its size: the mean of squares of so many pixels. What
      // is not a JPEG it takes as it is; here very large ones are halved too, to spare memory.
      const least = Math.min(Math.floor(width / (2 * size)), Math.floor(height / (2 * size)));
      const jpeg = start[0] === 0xff && start[1] === 0xd8;
      const part = jpeg || width * height > 16e6 ? [8, 4, 2, 1].find((k) => k <= Math.max(least, 1)) : 1;
      const w = Math.ceil(width / part), h = Math.ceil(height / part), small = new Uint8ClampedArray(w * h * 4);
      const rows = part * Math.max(1, Math.floor(2 ** 22 / width / part));  // so many at a time: 50 million pixels at once take 200 MB
      const pen = Object.assign(document.createElement("canvas"), { width, height: Math.min(rows, height) }).getContext("2d", { willReadFrequently: true });
      for (let top = 0; top < height; top += rows) {
        const high = Math.min(rows, height - top);
        pen.fillStyle = "#fff";
        pen.fillRect(0, 0, width, high);
        pen.drawImage(image, 0, top, width, high, 0, 0, width, high);
        const strip = pen.getImageData(0, 0, width, high).data;
        if (part === 1) { small.set(strip, top * width * 4); continue; }
        for (let y = 0; y < high; y += part)
          for (let x = 0; x < width; x += part)
            for (let c = 0; c < 4; c++) {
              const down = Math.min(part, high - y), right = Math.min(part, width - x);
              let sum = 0;
              for (let r = 0; r < down; r++) for (let s = 0; s < right; s++) sum += strip[((y + r) * width + x + s) * 4 + c];
              small[((top + y) / part * w + x / part) * 4 + c] = sum / (down * right);
            }
      }
      return resize(small, w, h, size);
    } catch {
      throw new Error(`${file.name || "This picture"} is too large for this browser: ${image.width} × ${image.height} pixels.`);
    } finally {
      image.close();
    }
  }
  // The answers of the edition: the test photos' names and labels, and runs {name, seed, p}, p the probability of a dog for each photo.
  const answers = async () => {
    const { photos, labels, runs } = await load("answers"), numbers = (text) => Float32Array.from(new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer), (x) => x / 65535);
    return { photos, labels: [...labels].map(Number), runs: runs.map((run) => ({ ...run, p: numbers(run.p) })) };
  };
  const file = ({ type, bytes, name }) => new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name, { type });

  // --- figures -----------------------------------------------------------------------------------------------------------

  // What a figure gets to work with, and what all have: a line of words about what is to be seen, which is read out, and a reset.
  function kitFor(figure) {
    const stage = el("div", { class: "live-stage" }), seen = el("p", { class: "live-status", "aria-hidden": "true" }), heard = el("p", { class: "live-heard", role: "status" });
    let later;
    const kit = {
      figure, stage, options: JSON.parse(figure.dataset.options || "{}"),
      // Words about what is to be seen: at once for the eye, and for the ear once nothing moves any more.
      say(text) {
        seen.textContent = text;
        clearTimeout(later);
        later = setTimeout(() => { heard.textContent = text; }, 500);
      },
      // What answers an event may fail: then the words say why.
      careful: (act) => async (...given) => { try { await act(...given); } catch (error) { kit.say(error.message); } },
      // The engine with some networks loaded; meanwhile the figure says what is loading.
      async engine(...wanted) {
        const size = wanted.reduce((sum, name) => sum + (FILES[name]?.[1] || 0), 0) / 1e6;
        kit.say(`Loading ${wanted.map((name) => name.replace(/_/g, " ")).join(" and ")}, ${size.toFixed(1)} MB …`);
        await load("engine");
        const started = await LIVE.engine();
        await Promise.all(wanted.map(started.load));
        return started;
      },
      // Thumbnails of the six, and a way in for a picture of one's own: chosen, dropped, pasted or photographed. Calls pick({file, name, own}).
      async photos(pick, { own = true } = {}) {
        const six = (await load("photos")).map((photo) => ({ ...photo, file: file(photo) }));
        const shown = six.map((photo, i) => [String(i), el("img", { src: `data:${photo.type};base64,${photo.bytes}`, alt: "" }), photo.alt]);
        const row = choice({ label: "Photo", kind: "live-photos", choices: shown, value: "0", onchange: (i) => pick(six[i]) });
        const box = el("div", { class: "live-pick" }, row.box);
        const take = (picture) => { if (picture) { row.set("own"); pick({ file: picture, name: picture.name, own: true }); } };
        if (own) {
          const chooser = (more) => {
            const input = el("input", { type: "file", accept: "image/*", hidden: true, ...more, onchange: () => { take(input.files[0]); input.value = ""; } });
            box.append(input);
            return () => input.click();
          };
          box.append(button("Your own photo …", chooser({ class: "live-file" })));
          if (matchMedia("(pointer: coarse)").matches) box.append(button("Take a photo …", chooser({ capture: "environment" })));
          const dropped = (transfer) => [...transfer?.files || []][0];
          stage.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("live-over"); });
          stage.addEventListener("dragleave", () => stage.classList.remove("live-over"));
          stage.addEventListener("drop", (event) => { event.preventDefault(); stage.classList.remove("live-over"); take(dropped(event.dataTransfer)); });
          document.addEventListener("paste", (event) => { if (stage.matches(":hover, :focus-within")) take(dropped(event.clipboardData)); });
        }
        return { box, six, row, first: () => { row.set("0"); return pick(six[0]); } };
      },
    };
    return { kit, words: [seen, heard] };
  }
  async function start(figure) {
    const name = figure.dataset.live, still = figure.querySelector(".live-still"), { kit, words } = kitFor(figure);
    try {
      await Promise.all([style(), load(name)]);
      const { reset } = await figures[name](kit);
      kit.stage.append(el("div", { class: "live-foot" }, words, button("Reset", reset, { class: "live-reset" })));
      figure.insertBefore(kit.stage, still);
      figure.classList.add("live-on");
      figure.dataset.state = "ready";
    } catch (error) {
      figure.dataset.state = "still";  // what a reader without script sees
      console.warn(`live figure ${name}: ${error.message}`);
    }
  }
  // WebAssembly with SIMD, and gzip: every browser since 2023. A function that adds nothing to nothing, four numbers at a time.
  const simd = () => typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.of(
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11));

  addEventListener("DOMContentLoaded", () => {
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); start(target); }
    }, { rootMargin: "100% 0%" });
    if (simd() && window.DecompressionStream) for (const figure of document.querySelectorAll("[data-live]")) near.observe(figure);
  });

  return {
    figure: (name, make) => { figures[name] = make; },
    data: (name, value) => { data[name] = value; },
    load, answers, pixels, el, svg, slider, choice, select, button, bar, paint, plot, drag, arrows, percent,
  };
})();
