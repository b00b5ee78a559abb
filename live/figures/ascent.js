// ascent: gradient ascent for a filter of VGG19, step by step, with the switch that lets the gradient past a ReLU that is closed.
LIVE.figure("ascent", async (kit) => {
  const { el, svg, choice, button, paint } = LIVE, STEPS = 40, RATE = 1, LAYERS = ["block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "block3_conv1"];
  const size = kit.options.size || 128, canvas = el("canvas", { role: "img", "aria-label": "The picture that grows" });
  const curve = LIVE.plot("The filter’s mean activation after each step", drawnCurve), filters = el("div");
  let layer, filter, relu, picture, values = [], running = 0, runs = 0, starting = null, silent = [], layers;

  const tabs = choice({ label: "Layer", choices: LAYERS.map((l) => [l, l]), onchange: kit.careful(async (l) => { layer = l; filter = 0; await list(); restart(); }) });
  const gate = choice({ label: "Gradient", choices: [["after", "after ReLU"], ["before", "before ReLU"]], onchange: (g) => { relu = g === "after"; restart(); } });
  const go = button("Start", kit.careful(() => (running ? stop() : run())), { class: "live-go" });
  kit.stage.append(el("div", { class: "live-controls" }, tabs.box), filters, el("div", { class: "live-controls", style: "margin-top: 0.8em" }, gate.box, go),
    el("div", { class: "live-side" }, el("div", { style: "flex-basis: 12em; max-width: 18em" }, canvas),
      el("div", { style: "flex-basis: 18em" }, el("p", { class: "live-title" }, "mean of the feature map, by step"), curve.box, el("p", { class: "live-note" }, "Weights of VGG19: Visual Geometry Group, Oxford, CC BY 4.0."))));

  // Grey with a little noise, the same each time: mulberry32, a small generator of random numbers.
  function noise() {
    let state = 20;
    const random = () => {
      state = state + 0x6d2b79f5 | 0;
      let t = Math.imul(state ^ state >>> 15, 1 | state);
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
      return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
    };
    return Float32Array.from({ length: size * size * 3 }, () => 138 + 20 * (random() - 0.5));
  }
  const start = () => starting ||= (async () => {
    const engine = await kit.engine("vgg19");
    ({ layers } = await LIVE.load("vgg19"));
    return engine;
  })().catch((error) => { starting = null; throw error; });
  const upTo = (l) => layers.slice(0, layers.findIndex((one) => one.name === l) + 1);

  // The layer's filters; those that are 0 everywhere on the start picture are marked, once the network is here.
  async function list() {
    silent = [];
    let count = { block1: 64, block2: 128, block3: 256 }[layer.slice(0, 6)];
    if (starting) {
      const engine = await start();
      await engine.ask("open", { name: "vgg19", number: 0, layers: upTo(layer), size });
      silent = (await engine.ask("silent", { number: 0, picture: noise() })).channels;
    }
    const numbers = choice({ label: `Filter, 0 to ${count - 1}${silent.length ? `; struck out: silent at the start, ${silent.length} of ${count}` : ""}`, kind: "live-filters", choices: Array.from({ length: count }, (_, i) => [String(i), String(i), silent.includes(i) ? `${i}, silent at the start` : undefined]), value: String(filter), onchange: (f) => { filter = +f; restart(); } });
    numbers.box.querySelector("legend").style.cssText = "grid-column: 1 / -1";
    [...numbers.box.querySelectorAll("label")].forEach((label, i) => label.classList.toggle("live-silent", silent.includes(i)));
    const quick = silent.map((f) => button(String(f), () => { filter = f; numbers.set(f); restart(); }, { class: "live-silent" }));
    filters.replaceChildren(numbers.box, ...(silent.length ? [el("div", { class: "live-controls", style: "margin: 0.6em 0 0" }, el("b", {}, "Silent on this picture:"), quick)] : []));
    kit.figure.dataset.silent = silent.join(" ");
  }
  function draw() {
    const n = picture.length, mean = picture.reduce((a, b) => a + b, 0) / n, deviation = Math.sqrt(picture.reduce((a, b) => a + (b - mean) ** 2, 0) / n), rgba = new Uint8ClampedArray(n / 3 * 4).fill(255);
    for (let i = 0; i < n; i++) rgba[Math.floor(i / 3) * 4 + i % 3] = 255 * (0.5 + 0.15 * (picture[i] - mean) / (deviation + 1e-5));  // as in chapter `filters`
    paint(canvas, rgba, size);
    curve.redraw();
  }
  function drawnCurve(width, plot) {
    const low = Math.min(0, ...values), high = Math.max(low + 1e-3, ...values), y = (v) => 130 - 115 * (v - low) / (high - low), short = (v) => String(+v.toPrecision(2)).replace("-", "−");
    plot.replaceChildren(
      ...[low, high].map((v) => svg("text", { x: 44, y: y(v) + 4, "text-anchor": "end" }, short(v))), svg("line", { x1: 50, x2: width - 5, y1: y(0), y2: y(0), stroke: "var(--live-rule)" }),
      svg("text", { x: width - 5, y: 147, "text-anchor": "end" }, `${STEPS} steps`),
      svg("polyline", { points: values.map((v, i) => `${50 + (width - 55) * i / STEPS},${y(v).toFixed(1)}`).join(" "), fill: "none", stroke: "var(--live-mark)", "stroke-width": 2.5 }));
    return 152;
  }
  async function run() {
    const own = running = ++runs;  // stop() makes running 0: then the step under way is the last
    go.textContent = "Stop";
    try {
      const fresh = !starting, engine = await start();
      if (fresh) await list();
      if (values.length >= STEPS) restart(true);
      const network = upTo(layer);
      network[network.length - 1] = { ...network[network.length - 1], relu };
      await engine.ask("open", { name: "vgg19", number: 0, layers: network, size, only: filter, gradients: true });
      while (running === own && values.length < STEPS) {
        const { value, rms, picture: next, ms } = await engine.ask("climb", { number: 0, picture, rate: RATE });
        if (running !== own) return;
        picture = next;
        values.push(value);
        draw();
        kit.figure.dataset.ms = Math.round(ms);
        if (rms === 0) { kit.say(`Filter ${filter} of ${layer} is 0 everywhere: no gradient comes through its ReLU, and the noise stays noise. Try the gradient before ReLU.`); break; }
        kit.say(`Step ${values.length}: the mean of filter ${filter} of ${layer}${relu ? "" : ", before ReLU,"} is ${+value.toPrecision(3)}.`);
        await new Promise((done) => setTimeout(done));  // the page draws in between
      }
    } finally {
      if (running === own) stop();
    }
  }
  function stop() {
    running = 0;
    go.textContent = "Start";
  }
  function restart(goOn = false) {
    if (!goOn) stop();
    picture = noise();
    values = [];
    draw();
    if (!goOn) kit.say(`Filter ${filter} of ${layer}: ${silent.includes(filter) ? "silent on this picture. " : ""}Start lets the picture climb${starting ? "" : "; it loads 1.5 MB"}.`);
  }
  async function reset() {
    layer = "block3_conv1";
    filter = 0;
    relu = true;
    tabs.set(layer);
    gate.set("after");
    stop();
    await list();
    restart();
  }
  await reset();
  return { reset };
});
