// kernel: a 3 × 3 kernel whose numbers can be changed, slid by hand over an image of 6 × 6 numbers or over a photo; the sum written out.
LIVE.figure("kernel", async (kit) => {
  const { el, select, choice, paint, drag, arrows } = LIVE;
  const IMAGE = [  // that of the chapter
    [1, 1, 8, 9, 1, 2], [1, 2, 9, 9, 1, 1], [2, 1, 9, 8, 2, 1], [1, 1, 8, 9, 1, 1], [1, 2, 1, 2, 1, 2], [2, 1, 1, 1, 2, 1],
  ];
  const PRESETS = {
    "upright edges": [-1, 0, 1, -1, 0, 1, -1, 0, 1],
    "level edges": [-1, -1, -1, 0, 0, 0, 1, 1, 1],
    "slanted edges": [0, 1, 1, -1, 0, 1, -1, -1, 0],
    "blur": [1, 1, 1, 1, 1, 1, 1, 1, 1].map((x) => x / 9),
    "sharpen": [0, -1, 0, -1, 5, -1, 0, -1, 0],
    "spots": [-1, -1, -1, -1, 8, -1, -1, -1, -1],
    "leave as it is": [0, 0, 0, 0, 1, 0, 0, 0, 0],
  };
  const SIDE = 96;  // of the photo
  let over, grey = null, kernel, row, column;  // the image: IMAGE, or the photo as rows of numbers from 0 to 9

  const number = (x) => String(+x.toFixed(2)).replace("-", "−");
  const image = () => (over === "photo" && grey ? grey : IMAGE);
  const sum = (r, c) => kernel.reduce((total, weight, i) => total + weight * image()[r + Math.floor(i / 3)][c + i % 3], 0);

  // --- what is on the page ---
  const inputs = Array.from({ length: 9 }, (_, i) => el("input", {
    type: "number", step: "any", "aria-label": `kernel, row ${Math.floor(i / 3) + 1}, column ${i % 3 + 1}`,
    oninput: () => { kernel[i] = +inputs[i].value || 0; preset.set("your own"); draw(); },
  }));
  const preset = select({ label: "Kernel", choices: [...Object.keys(PRESETS), "your own"].map((p) => [p, p]), value: "upright edges", onchange: (p) => { if (PRESETS[p]) use(p); } });
  const ground = choice({ label: "Over", choices: [["numbers", "6 × 6 numbers"], ["photo", "a photo"]], value: "numbers", onchange: kit.careful(change) });
  const left = el("div", { tabindex: "0", role: "application", "aria-label": "Image: the arrow keys move the window", class: "live-image" });
  const right = el("div", { class: "live-map" });
  const written = el("p", { class: "live-sum" }), photoRow = el("div", { hidden: true });
  kit.stage.append(
    el("div", { class: "live-controls" }, ground.box, preset.box), photoRow,
    el("div", { class: "live-side" },
      el("div", { style: "flex-basis: 13.4em" }, el("p", { class: "live-title" }, "image (drag the window, or use the arrow keys)"), left),
      el("div", { style: "flex: 0 1 10em" }, el("p", { class: "live-title" }, "kernel (type your own numbers)"), el("div", { class: "live-kernel" }, inputs)),
      el("div", { style: "flex-basis: 9.2em" }, el("p", { class: "live-title" }, "feature map: all the sums"), right)),
    written);

  const places = () => image().length - 2;
  const move = (r, c) => {
    const last = places() - 1;
    row = Math.min(Math.max(r, 0), last);
    column = Math.min(Math.max(c, 0), last);
    mark();
  };
  drag(left, (x, y) => { const side = image().length; move(Math.floor(y * side) - 1, Math.floor(x * side) - 1); left.focus({ preventScroll: true }); });
  drag(right, (x, y) => move(Math.floor(y * places()), Math.floor(x * places())));
  arrows(left, (dx, dy) => move(row + dy, column + dx));

  // Numbers as squares whose shade says how large they are. Which of 0 and the largest is bright does not depend on the theme.
  const shade = (share) => { const v = Math.round(255 * Math.min(Math.max(share, 0), 1)); return `background: rgb(${v} ${v} ${v}); color: ${v > 110 ? "#000" : "#fff"}`; };
  const squares = (rows, shareOf) => el("div", { class: "live-numbers", style: `grid-template-columns: repeat(${rows.length}, auto)` },
    rows.flat().map((x) => el("span", { style: shade(shareOf(x)) }, number(x))));
  // Grey is 0, darker is negative, brighter is positive.
  const signed = (rows) => { const most = Math.max(1e-9, ...rows.flat().map(Math.abs)); return (x) => 0.5 + 0.5 * x / most; };
  const picture = (rows, shareOf) => {
    const rgba = rows.flat().flatMap((x) => { const v = 255 * shareOf(x); return [v, v, v, 255]; });
    return el("div", { class: "live-square", style: "cursor: crosshair" }, paint(el("canvas", { class: "live-sharp" }), rgba, rows.length), el("i", { class: "live-frame" }));
  };
  function draw() {
    const sums = Array.from({ length: places() }, (_, r) => Array.from({ length: places() }, (_, c) => sum(r, c))), photo = image() !== IMAGE;
    left.replaceChildren((photo ? picture : squares)(image(), (x) => x / 9));
    right.replaceChildren((photo ? picture : squares)(sums, signed(sums)));
    move(row, column);
  }
  function mark() {
    const side = image().length;
    const framed = (box, r, c, size, of) => {
      const frame = box.querySelector(".live-frame"), least = 6;  // a pixel of a photo is too small to be seen
      if (frame) frame.style.cssText = `left: ${100 * (c + size / 2) / of}%; top: ${100 * (r + size / 2) / of}%; width: max(${100 * size / of}%, ${least}px); aspect-ratio: 1; transform: translate(-50%, -50%)`;
      else [...box.firstChild.children].forEach((cell, i) => { const y = Math.floor(i / of), x = i % of; cell.classList.toggle("live-in", y >= r && y < r + size && x >= c && x < c + size); });
    };
    framed(left, row, column, 3, side);
    framed(right, row, column, 1, places());
    const terms = kernel.map((w, i) => { const v = number(image()[row + Math.floor(i / 3)][column + i % 3]); return w < 0 ? `(${number(w)}) · ${v}` : `${number(w)} · ${v}`; });
    written.textContent = `${terms.join(" + ")} = ${number(sum(row, column))}`;
    kit.say(`Window at row ${row + 1}, column ${column + 1}: the sum is ${number(sum(row, column))}.`);
  }
  function use(name) {
    kernel = [...PRESETS[name]];
    kernel.forEach((x, i) => { inputs[i].value = +x.toFixed(3); });
    preset.set(name);
    draw();
  }
  let photos;
  async function change(to) {
    over = to;
    if (to === "photo" && !photos) {
      photos = await kit.photos(kit.careful(async ({ file }) => {
        const rgba = await LIVE.pixels(file, SIDE), value = (i) => (0.299 * rgba[i] + 0.587 * rgba[i + 1] + 0.114 * rgba[i + 2]) * 9 / 255;
        grey = Array.from({ length: SIDE }, (_, y) => Array.from({ length: SIDE }, (_, x) => value((y * SIDE + x) * 4)));
        draw();
      }));
      photoRow.append(photos.box);
      photos.first();
    }
    photoRow.hidden = to !== "photo";
    draw();
  }
  function reset() {
    over = "numbers";
    ground.set("numbers");
    photoRow.hidden = true;
    row = column = 0;
    use("upright edges");
  }
  reset();
  return { reset };
});
