// field: a place in a layer of the small network, and the square of the photo that its number depends on.
LIVE.figure("field", async (kit) => {
  const { el, drag, arrows, paint } = LIVE, { size, layers: LAYERS } = await LIVE.load("layers");  // the photo's side; [name, window, stride, channels]
  // One axis, the other is the same: how many places a layer has, how far apart they lie in the photo, how much of it each one sees.
  let side = size, jump = 1, field = 1;
  const layers = LAYERS.map(([name, window, stride, channels]) => {
    field += (window - 1) * jump;
    jump *= stride;
    side = Math.floor((side - window) / stride) + 1;
    return { name, channels, side, jump, field };
  });
  let layer, row, column;

  const canvas = el("canvas"), frame = el("i", { class: "live-frame" }), photo = el("div", { class: "live-square" }, canvas, frame);
  const photos = await kit.photos(kit.careful(async ({ file }) => paint(canvas, await LIVE.pixels(file, size), size)));
  const boxes = layers.map((one, i) => {
    const dot = el("i"), square = el("div", { class: "live-places", tabindex: "0", role: "application", "aria-label": `${one.name}, ${one.side} by ${one.side} places: the arrow keys choose one`, style: `width: ${18 + one.side / 2.4}px; aspect-ratio: 1` }, dot);
    drag(square, (x, y) => { choose(i, Math.floor(y * one.side), Math.floor(x * one.side)); square.focus({ preventScroll: true }); });
    arrows(square, (dx, dy) => (layer === i ? choose(i, row + dy, column + dx) : choose(i, ...middle(one))));
    square.addEventListener("focus", () => { if (layer !== i) choose(i, ...middle(one)); });
    return { dot, box: el("div", { class: "live-layer" }, square, el("div", {}, one.name, el("br"), `${one.side} × ${one.side} × ${one.channels}`)) };
  });
  kit.stage.append(photos.box, el("div", { class: "live-side" }, photo,
    el("div", {}, el("p", { class: "live-title" }, "Layers: click a place, or use the arrow keys"), el("div", { class: "live-layers" }, boxes.map((b) => b.box)))));

  const middle = ({ side: n }) => [n >> 1, n >> 1];
  function choose(i, r, c) {
    const { name, side: n, jump: apart, field: wide } = layers[i], within = (v) => Math.min(Math.max(v, 0), n - 1);
    [layer, row, column] = [i, within(r), within(c)];
    boxes.forEach(({ dot, box }, k) => {
      box.classList.toggle("live-now", k === i);
      dot.hidden = k !== i;
      dot.style.cssText = `left: ${100 * (column + 0.5) / n}%; top: ${100 * (row + 0.5) / n}%; width: ${100 / n}%; height: ${100 / n}%`;
    });
    const at = (v) => 100 * v / size;
    frame.style.cssText = `left: ${at(column * apart)}%; top: ${at(row * apart)}%; width: ${at(wide)}%; height: ${at(wide)}%`;
    const from = (v) => `${v * apart + 1} to ${v * apart + wide}`;
    kit.say(`${name}, row ${row + 1}, column ${column + 1}: it sees ${wide} × ${wide} pixels of the photo, rows ${from(row)}, columns ${from(column)}. The place beside it sees ${apart} ${apart === 1 ? "pixel" : "pixels"} further.`);
  }
  function reset() {
    photos.first();
    choose(2, ...middle(layers[2]));
  }
  reset();
  return { reset };
});
