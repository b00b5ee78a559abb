// try: what the book's networks say about a picture of the reader's own, or about one of the six. Nothing leaves the machine.
LIVE.figure("try", async (kit) => {
  const { el, bar } = LIVE, names = kit.options.networks, bars = names.map((name) => bar(name.replace(/_/g, " ")));
  const canvas = el("canvas", { role: "img", "aria-label": "The picture, squeezed to a square as the networks get it" });
  let starting = null, serial = 0;

  const photos = await kit.photos(kit.careful(ask));
  kit.stage.append(photos.box, el("div", { class: "live-side" }, el("div", { style: "flex-basis: 10em; max-width: 17em" }, canvas),
    el("div", {}, bars.map((b) => b.box), el("p", { class: "live-note" }, "Drop a picture here, paste one, or choose a file. The networks run on this page: no picture leaves your machine."))));

  // The networks are loaded when the first picture is asked about, and lie in memory from then on.
  const start = () => starting ||= (async () => {
    const engine = await kit.engine(...names), sizes = await Promise.all(names.map(async (name) => (await LIVE.load(name)).size));
    for (const [number, name] of names.entries()) await engine.ask("open", { name, number });
    return { engine, sizes };
  })().catch((error) => { starting = null; throw error; });

  async function show(file) {
    LIVE.paint(canvas, await LIVE.pixels(file, 180), 180);
  }
  async function ask({ file, name }) {
    const own = ++serial, begun = performance.now();  // a later picture overtakes this one
    for (const b of bars) b.show(null);
    await show(file);
    const { engine, sizes } = await start(), said = [];
    for (const [number, size] of sizes.entries()) {
      const { values: [p] } = await engine.ask("run", { number, pixels: await LIVE.pixels(file, size) });
      if (own !== serial) return;
      bars[number].show(p);
      said.push(`${names[number].replace(/_/g, " ")} says ${p > 0.5 ? "dog" : "cat"}, ${LIVE.percent(Math.max(p, 1 - p))}`);
      kit.figure.dataset[`p${number}`] = p;
    }
    kit.figure.dataset.ms = Math.round(performance.now() - begun);
    kit.say(`${name.replace(/\.\w+$/, "")}: ${said.join("; ")}.`);
  }
  async function reset() {
    serial++;
    for (const b of bars) b.show(null);
    photos.row.set("");
    await show(photos.six[0].file);
    kit.say("Choose a photo, or take one of your own.");
  }
  await reset();
  return { reset };
});
