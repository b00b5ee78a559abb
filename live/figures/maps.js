// maps: what every channel of every layer of the small network makes of a photo.
LIVE.figure("maps", async (kit) => {
  const { el, choice, button, paint } = LIVE, [name] = kit.options.networks;
  const photo = el("canvas", { role: "img", "aria-label": "The photo" }), large = el("canvas", { role: "img", class: "live-sharp", "aria-label": "No channel yet" });
  const grid = el("div", { class: "live-maps" }), title = el("p", { class: "live-title" });
  let starting = null, layer, channel, shown = null, serial = 0;

  const layers = (await LIVE.load("layers")).layers.map(([word]) => word);  // in the order of the network's own, of which 0 is the photo
  const photos = await kit.photos(kit.careful(look));
  const tabs = choice({ label: "Layer", choices: layers.map((word, i) => [String(i + 1), word]), value: "1", onchange: kit.careful(async (i) => { layer = +i; channel = 0; if (shown) await draw(); }) });
  kit.stage.append(photos.box, el("div", { class: "live-controls" }, tabs.box), el("div", { class: "live-side" },
    el("div", { style: "flex: 1 1 9em; max-width: 15em" }, el("p", { class: "live-title" }, "the photo"), photo),
    el("div", { style: "flex: 1 1 9em; max-width: 15em" }, title, large),
    el("div", { style: "flex: 3 1 18em" }, el("p", { class: "live-title" }, "all channels: dark is 0, bright the channel’s largest value"), grid)));

  const start = () => starting ||= (async () => {
    const engine = await kit.engine(name), { size } = await LIVE.load(name);
    await engine.ask("open", { name, number: 0 });
    return { engine, size };
  })().catch((error) => { starting = null; throw error; });

  async function look({ file }) {
    const own = ++serial, { engine, size } = await start(), pixels = await LIVE.pixels(file, size);
    if (own !== serial) return;
    paint(photo, pixels, size);
    await engine.ask("run", { number: 0, pixels });
    await draw();
  }
  function picture(canvas, c) {
    const { h, w, c: channels, values } = shown, rgba = new Uint8ClampedArray(h * w * 4), most = shown.most[c] || 1;
    for (let i = 0; i < h * w; i++) rgba.fill(255 * Math.max(values[i * channels + c], 0) / most, i * 4, i * 4 + 3).fill(255, i * 4 + 3, i * 4 + 4);
    return paint(canvas, rgba, w, h);
  }
  async function draw() {
    const { engine } = await start();
    shown = await engine.ask("maps", { number: 0, layer });
    shown.most = new Float32Array(shown.c);
    shown.values.forEach((v, i) => { const c = i % shown.c; if (v > shown.most[c]) shown.most[c] = v; });
    const word = layers[layer - 1];
    grid.replaceChildren(...Array.from({ length: shown.c }, (_, c) => {
      const show = () => magnify(c), silent = shown.most[c] ? "" : ", silent";
      return button(picture(el("canvas", { class: "live-sharp" }), c), show, { onmouseenter: show, onfocus: show, "aria-label": `${word}, channel ${c}${silent}` });
    }));
    magnify(Math.min(channel, shown.c - 1));
  }
  function magnify(c) {
    channel = c;
    const word = layers[layer - 1], silent = shown.most.filter((v) => !v).length;
    picture(large, c);
    [...grid.children].forEach((b, i) => b.classList.toggle("live-now", i === c));
    title.textContent = `${word}, channel ${c}`;
    large.setAttribute("aria-label", title.textContent);
    kit.say(`${word}: ${shown.c} maps of ${shown.h} × ${shown.w}, ${silent} of them 0 everywhere. Channel ${c}: ${shown.most[c] ? `largest value ${shown.most[c].toPrecision(2)}` : "0 everywhere"}.`);
  }
  async function reset() {
    layer = 1;
    channel = 0;
    tabs.set("1");
    if (!starting) {  // weights are loaded when the reader asks for them
      serial++;
      photos.row.set("");
      paint(photo, await LIVE.pixels(photos.six[0].file, 150), 150);
      return kit.say("Choose a photo: then the network looks at it, layer by layer.");
    }
    await photos.first();
  }
  await reset();
  return { reset };
});
