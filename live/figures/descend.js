// descend: a ball on a loss surface of two weights. The learning rate, the optimiser and the start are the reader's.
LIVE.figure("descend", (kit) => {
  const { el, svg, choice, select, slider, button, plot, drag, arrows } = LIVE;
  // Surfaces: the loss, its gradient, the part that is shown, the start, lines of equal loss. The valley is that of chapter `learning`.
  const valley = (a, b) => (a * a + 25 * b * b) / 2, slope = (a, b) => [a, 25 * b], h = Math.SQRT1_2;
  const back = (a, b) => [h * (a + b), h * (b - a)], turn = (a, b) => [h * (a - b), h * (a + b)];
  const VIEW = [-4.7, 2.2, -1.9, 1.9], LINES = [0.3, 1.5, 4, 8, 14, 22, 32];
  const SURFACES = {
    valley: { name: "a narrow valley", loss: valley, gradient: slope, view: VIEW, start: [-4, 1], lines: LINES },
    turned: { name: "the valley, turned by 45°", loss: (a, b) => valley(...back(a, b)), gradient: (a, b) => turn(...slope(...back(a, b))), view: [-5, 2.6, -4.2, 2], start: turn(-4, 1), lines: LINES },
    two: {  // ((a² - 4)² + 4a) / 4 + 2b², a shallow minimum on the right and a deeper one on the left
      name: "two valleys", loss: (a, b) => ((a * a - 4) ** 2 + 4 * a) / 4 + 2 * b * b + 2.1, gradient: (a, b) => [a * (a * a - 4) + 1, 4 * b],
      view: [-3.4, 3.4, -1.9, 1.9], start: [3, 1.2], lines: [0.3, 1, 2, 3.2, 4.4, 5.4, 6.3, 8, 11, 15],
    },
  };
  // The rules of chapter `learning`: g is the gradient, m and v what a rule remembers of each weight, t the number of the step.
  const RULES = {
    "gradient descent": { rate: 0.07, step: (g) => g },
    momentum: { rate: 0.02, step: (g, s, i) => (s.m[i] = 0.9 * s.m[i] + g) },
    RMSprop: { rate: 0.15, step: (g, s, i) => { s.v[i] = 0.9 * s.v[i] + 0.1 * g * g; return g / (Math.sqrt(s.v[i]) + 1e-7); } },
    Adam: { rate: 0.3, step: (g, s, i, t) => {
      s.m[i] = 0.9 * s.m[i] + 0.1 * g;
      s.v[i] = 0.999 * s.v[i] + 0.001 * g * g;
      return s.m[i] / (1 - 0.9 ** t) / (Math.sqrt(s.v[i] / (1 - 0.999 ** t)) + 1e-7);
    } },
  };
  const STEPS = 60, RATES = [-3, -2, -1, 0].flatMap((power) => [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9].map((x) => +(x * 10 ** power).toPrecision(2))).filter((x) => x <= 2);
  let surface, rule, rate, start, path = [], memory, timer = null;

  // --- what is on the page ---
  const { box: mapBox, picture: map, redraw: drawMap } = plot("Loss surface seen from above: the arrow keys move the start", drawnMap), curve = plot("The loss after each step, logarithmic scale", drawnCurve);
  Object.entries({ tabindex: "0", role: "application", style: "cursor: crosshair; border-radius: 6px; background: var(--live-paper)" }).forEach(([k, v]) => map.setAttribute(k, v));
  const surfaces = select({ label: "Surface", choices: Object.entries(SURFACES).map(([k, s]) => [k, s.name]), value: "valley", onchange: (name) => { surface = SURFACES[name]; start = surface.start; lines = null; restart(); } });
  const rules = choice({ label: "Optimiser", choices: Object.keys(RULES).map((r) => [r, r]), value: "gradient descent", onchange: (name) => { rule = name; rate = RULES[name].rate; rates.set(RATES.indexOf(rate)); restart(); } });
  const rates = slider({ label: "Learning rate", min: 0, max: RATES.length - 1, step: 1, value: 0, shown: (i) => String(RATES[i]), oninput: (i) => { rate = RATES[i]; restart(); } });
  const go = button("Go", () => (timer ? stop() : run()), { class: "live-go" });
  kit.stage.append(
    el("div", { class: "live-controls" }, surfaces.box, rules.box), el("div", { class: "live-controls" }, rates.box, go, button("One step", () => { stop(); step(); draw(); })),
    el("p", { class: "live-title" }, "Loss by the two weights a and b: thin lines join places of equal loss. Click where to start."), mapBox,
    el("p", { class: "live-title", style: "margin-top: 0.6em" }, "Loss after each step"), curve.box);

  // --- drawing ---
  let lines, wide, high, unit;  // size of the map; pixels of one unit
  const x = (a) => (a - surface.view[0]) * unit, y = (b) => (surface.view[3] - b) * unit;
  function contours() {
    const cell = 5, columns = Math.ceil(wide / cell), rows = Math.ceil(high / cell);
    const values = Array.from({ length: rows + 1 }, (_, r) => Array.from({ length: columns + 1 }, (_, c) => surface.loss(surface.view[0] + c * cell / unit, surface.view[3] - r * cell / unit)));
    const group = svg("g", { fill: "none", stroke: "var(--live-quiet)", "stroke-width": "0.8" });
    for (const level of surface.lines) {
      let d = "";
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) {  // where the level crosses the four sides of a cell; two such places are joined
          const corners = [[c, r], [c + 1, r], [c + 1, r + 1], [c, r + 1]], found = [];
          for (let i = 0; i < 4; i++) {
            const [p, q] = [corners[i], corners[(i + 1) % 4]], [u, v] = [values[p[1]][p[0]] - level, values[q[1]][q[0]] - level];
            if (u < 0 !== v < 0) { const s = u / (u - v); found.push([(p[0] + s * (q[0] - p[0])) * cell, (p[1] + s * (q[1] - p[1])) * cell]); }
          }
          for (let i = 0; i + 1 < found.length; i += 2) d += `M${found[i].map((v) => v.toFixed(1))}L${found[i + 1].map((v) => v.toFixed(1))}`;
        }
      group.append(svg("path", { d }));
    }
    return group;
  }
  const loss = () => surface.loss(...path[path.length - 1]);
  const gone = () => !isFinite(loss()) || loss() > 1e6;  // the ball is out of every picture
  function drawnMap(width) {
    if (wide !== width || !lines) {
      [wide, unit] = [width, width / (surface.view[1] - surface.view[0])];
      high = unit * (surface.view[3] - surface.view[2]);
      lines = contours();
    }
    const within = (v) => Math.min(Math.max(isFinite(v) ? v : 0, -1e4), 1e4), points = path.map(([a, b]) => [within(x(a)), within(y(b))]), [bx, by] = points[points.length - 1];
    map.replaceChildren(lines,
      svg("polyline", { points: points.map((p) => p.join(",")).join(" "), fill: "none", stroke: "var(--live-mark)", "stroke-width": 1.4 }),
      svg("g", { fill: "var(--live-mark)" }, points.map(([px, py]) => svg("circle", { cx: px, cy: py, r: 2.4 }))),
      svg("circle", { cx: bx, cy: by, r: 7, fill: "var(--live-mark)", stroke: "var(--live-paper)", "stroke-width": 2, class: "live-ball" }),
      svg("text", { x: 6, y: high - 8 }, "a →"), svg("text", { x: 6, y: 18 }, "b ↑"));
    return high;
  }
  function drawnCurve(width, picture) {
    const left = 38, losses = path.map((p) => Math.log10(Math.min(Math.max(surface.loss(...p), 1e-6), 1e6) || 1e6)), level = (v) => 66 - v * 9;
    picture.replaceChildren(...[-6, -3, 0, 3, 6].flatMap((p) => [
      svg("line", { x1: left, x2: width, y1: level(p), y2: level(p), stroke: "var(--live-rule)" }),
      svg("text", { x: left - 5, y: level(p) + 5, "text-anchor": "end" }, "10", svg("tspan", { dy: -5, style: "font-size: 12px" }, String(p).replace("-", "−")))]),
    svg("polyline", { points: losses.map((v, i) => `${(left + i * (width - left) / STEPS).toFixed(1)},${level(v).toFixed(1)}`).join(" "), fill: "none", stroke: "var(--live-mark)", "stroke-width": 2 }));
    return 128;
  }
  function draw() {
    drawMap();
    curve.redraw();
    const t = path.length - 1, value = loss(), first = surface.loss(...path[0]);
    const words = t > 0 && gone() ? `Diverged: after ${t} steps the loss is ${isFinite(value) ? value.toExponential(1) : "not even a number any more"}, and the ball is out of the picture.`
      : `Step ${t}: loss ${value.toPrecision(3)}${t > 2 && value > 2 * first ? ". It grows: the steps are too long" : ""}.`;
    kit.say(`${rule}, rate ${rate}. ${words}`);
    kit.figure.dataset.loss = value;
  }
  function step() {
    if (path.length > STEPS || gone()) return false;
    const t = path.length, place = path[t - 1], gradient = surface.gradient(...place);
    path.push(place.map((w, i) => w - rate * RULES[rule].step(gradient[i], memory, i, t)));
    return true;
  }
  function run() {
    if (path.length > STEPS || gone()) restart();
    go.textContent = "Stop";
    timer = setInterval(() => { if (!step()) stop(); draw(); }, 110);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    go.textContent = "Go";
  }
  function restart() {
    stop();
    path = [start];
    memory = { m: [0, 0], v: [0, 0] };
    draw();
  }
  const begin = (a, b) => { const [l, r, d, u] = surface.view; start = [Math.min(Math.max(a, l), r), Math.min(Math.max(b, d), u)]; restart(); };
  drag(map, (u, v) => begin(surface.view[0] + u * wide / unit, surface.view[3] - v * high / unit));
  arrows(map, (dx, dy) => begin(start[0] + dx * 0.1, start[1] - dy * 0.1));
  function reset() {
    surface = SURFACES.valley;
    surfaces.set("valley");
    rule = "gradient descent";
    rules.set(rule);
    rate = RULES[rule].rate;
    rates.set(RATES.indexOf(rate));
    start = surface.start;
    lines = null;
    restart();
  }
  reset();
  return { reset };
});
