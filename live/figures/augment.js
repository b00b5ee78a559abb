// augment: the five changes of chapter `augmentation` by hand, and dice. The arithmetic is that of src/augment.py.
LIVE.figure("augment", async (kit) => {
  const { el, slider, button, paint } = LIVE, SIDE = 150, PLAIN = { flip: 0, rotation: 0, right: 0, down: 0, shearX: 0, shearY: 0, zoom: 1 };
  let now = { ...PLAIN }, photo = null;

  // 3 × 3 matrices, of which the last row is always 0 0 1: where in the photo a point (x, y) of the changed picture comes from.
  const times = (a, b) => [0, 3].flatMap((r) => [0, 1, 2].map((c) => a[r] * b[c] + a[r + 1] * b[3 + c] + (c === 2 ? a[r + 2] : 0)));
  function matrix({ flip, rotation, right, down, shearX, shearY, zoom }) {
    const angle = rotation * Math.PI / 180, c = Math.cos(angle), s = Math.sin(angle), middle = (SIDE - 1) / 2;
    return [
      [1 - 2 * flip, 0, flip * (SIDE - 1), 0, 1, 0],
      [c, -s, middle - c * middle + s * middle, s, c, middle - s * middle - c * middle],
      [1, 0, -right * SIDE, 0, 1, -down * SIDE],
      [1, shearX, 0, shearY, 1, 0],
      [zoom, 0, (1 - zoom) * middle, 0, zoom, (1 - zoom) * middle],
    ].reduce(times);
  }
  function warp(source, [a, b, c, d, e, f]) {  // each pixel a mixture of the four around its place; beyond the border the nearest ones
    const out = new Uint8ClampedArray(source.length), within = (v) => Math.min(Math.max(v, 0), SIDE - 1);
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) {
        const u = within(a * x + b * y + c), v = within(d * x + e * y + f), left = Math.floor(u), top = Math.floor(v), right = within(left + 1), low = within(top + 1);
        for (let k = 0; k < 4; k++) {
          const p = (r, s) => source[(r * SIDE + s) * 4 + k], upper = p(top, left) + (u - left) * (p(top, right) - p(top, left)), lower = p(low, left) + (u - left) * (p(low, right) - p(low, left));
          out[(y * SIDE + x) * 4 + k] = upper + (v - top) * (lower - upper);
        }
      }
    return out;
  }

  const before = el("canvas", { role: "img", "aria-label": "The photo as it is" }), after = el("canvas", { role: "img", "aria-label": "The photo, changed" });
  const signed = (digits, sign) => (v) => `${v < 0 ? "−" : ""}${Math.abs(v).toFixed(digits)}${sign}`, share = (v) => signed(0, "\u202f%")(100 * v);
  const control = (label, name, min, max, step, shown) => [name, slider({ label, min, max, step, value: PLAIN[name], shown, oninput: (v) => { now[name] = v; draw(); } })];
  const sliders = Object.fromEntries([
    control("Rotation", "rotation", -40, 40, 1, signed(0, "°")), control("To the right", "right", -0.2, 0.2, 0.01, share), control("Down", "down", -0.2, 0.2, 0.01, share),
    control("Shear, rows", "shearX", -0.2, 0.2, 0.01, signed(2, "")), control("Shear, columns", "shearY", -0.2, 0.2, 0.01, signed(2, "")),
    control("Part shown", "zoom", 0.8, 1.2, 0.01, (v) => share(v)),
  ]);
  const flip = button("Flip left to right", () => { now.flip = 1 - now.flip; draw(); }, { "aria-pressed": "false" });
  const dice = button("Roll the dice", () => {
    const random = (most) => (2 * Math.random() - 1) * most;
    now = { flip: Math.random() < 0.5 ? 1 : 0, rotation: random(40), right: random(0.2), down: random(0.2), shearX: random(0.2), shearY: random(0.2), zoom: 1 + random(0.2) };
    draw();
  }, { class: "live-go" });
  const photos = await kit.photos(kit.careful(async ({ file }) => { photo = await LIVE.pixels(file, SIDE); paint(before, photo, SIDE); draw(); }));
  kit.stage.append(photos.box,
    el("div", { class: "live-side" },
      el("div", { style: "flex-basis: 8em; max-width: 16em" }, el("p", { class: "live-title" }, "as it is"), before),
      el("div", { style: "flex-basis: 8em; max-width: 16em" }, el("p", { class: "live-title" }, "as the network gets it"), after),
      el("div", { style: "flex-basis: 17em" }, Object.values(sliders).map((s) => s.box))),
    el("div", { class: "live-controls" }, dice, flip));

  function draw() {
    for (const [name, s] of Object.entries(sliders)) s.set(now[name]);
    flip.setAttribute("aria-pressed", String(now.flip === 1));
    if (photo) paint(after, warp(photo, matrix(now)), SIDE);
    const said = Object.entries(sliders).filter(([name]) => Math.abs(now[name] - PLAIN[name]) > 1e-9).map(([, s]) => `${s.box.querySelector("label").textContent.toLowerCase()} ${s.box.querySelector("output").textContent}`);
    kit.say(["The photo", now.flip ? "flipped" : "", ...said].filter(Boolean).join(", ") + (said.length || now.flip ? "." : " as it is."));
  }
  function reset() {
    now = { ...PLAIN };
    photos.first();
  }
  reset();
  return { reset };
});
