// descend: a ball on a loss surface of two weights. The learning rate, the optimiser and the start are the reader's.
LIVE.figure("descend", (kit) => {
  const { el, svg, choice, select, slider, button, drag, arrows } = LIVE;
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
  const STEPS = 60, WIDE = 460;
  let surface, rule, rate, start, path, memory, timer = null;

  // --- what is on the page ---
  const map = svg("svg", { tabindex: "0", role: "application", "aria-label": "Loss surface seen from above: the arrow keys move the start", style: "cursor: crosshair; border-radius: 6px; background: var(--live-paper)" });
  const curve = svg("svg", { viewBox: "0 0 460 120", role: "img", "aria-label": "The loss after each step, logarithmic scale" });
  const surfaces = select({ label: "Surface", choices: Object.entries(SURFACES).map(([k, s]) => [k, s.name]), value: "valley", onchange: (name) => { surface = SURFACES[name]; start = surface.start; contours(); restart(); } });
  const rules = choice({ label: "Optimiser", choices: Object.keys(RULES).map((r) => [r, r]), value: "gradient descent", onchange: (name) => { rule = name; rate = RULES[name].rate; rates.set(Math.log10(rate)); restart(); } });
  const rates = slider({ label: "Learning rate", min: -3, max: 0.3, step: 0.02, value: -1, shown: (v) => (10 ** v).toPrecision(2), oninput: (v) => { rate = 10 ** v; restart(); } });
  const go = button("Go", () => (timer ? stop() : run()), { class: "live-go" });
  kit.stage.append(
    el("div", { class: "live-controls" }, surfaces.box, rules.box), el("div", { class: "live-controls" }, rates.box, go, button("One step", () => { stop(); step(); draw(); })),
    el("p", { class: "live-title" }, "Loss by the two weights a and b: thin lines join places of equal loss. Click where to start."), map,
    el("p", { class: "live-title", style: "margin-top: 0.6em" }, "Loss after each step"), curve);

  // --- drawing ---
  let lines, high, unit;  // height of the map; pixels of one unit
  const x = (a) => (a - surface.view[0]) * unit, y = (b) => (surface.view[3] - b) * unit;
  function contours() {
    unit = WIDE / (surface.view[1] - surface.view[0]);
    high = unit * (surface.view[3] - surface.view[2]);
    map.setAttribute("viewBox", `0 0 ${WIDE} ${high.toFixed(1)}`);
    const cell = 5, columns = Math.ceil(WIDE / cell), rows = Math.ceil(high / cell);
    const values = Array.from({ length: rows + 1 }, (_, r) => Array.from({ length: columns + 1 }, (_, c) => surface.loss(surface.view[0] + c * cell / unit, surface.view[3] - r * cell / unit)));
    lines = svg("g", { fill: "none", stroke: "var(--live-quiet)", "stroke-width": "0.8" });
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
      lines.append(svg("path", { d }));
    }
  }
  const gone = () => !isFinite(loss()) || loss() > 1e6;  // the ball is out of every picture
  const loss = () => surface.loss(...path[path.length - 1]);
  function draw() {
    const within = (v) => Math.min(Math.max(isFinite(v) ? v : 0, -1e4), 1e4), points = path.map(([a, b]) => [within(x(a)), within(y(b))]), [bx, by] = points[points.length - 1];
    const marks = points.map(([px, py]) => svg("circle", { cx: px, cy: py, r: 2.4 }));
    map.replaceChildren(lines,
      svg("polyline", { points: points.map((p) => p.join(",")).join(" "), fill: "none", stroke: "var(--live-mark)", "stroke-width": 1.4 }),
      svg("g", { fill: "var(--live-mark)" }, marks), svg("circle", { cx: bx, cy: by, r: 7, fill: "var(--live-mark)", stroke: "var(--live-paper)", "stroke-width": 2, class: "live-ball" }),
      svg("text", { x: 6, y: high - 8, "font-size": 13 }, "a →"), svg("text", { x: 6, y: 18, "font-size": 13 }, "b ↑"));
    const losses = path.map((p) => Math.log10(Math.min(Math.max(surface.loss(...p), 1e-6), 1e6) || 1e6)), at = (v, i) => `${(28 + i * 430 / STEPS).toFixed(1)},${(60 - v * 50 / 6).toFixed(1)}`;
    curve.replaceChildren(...[-6, -3, 0, 3, 6].flatMap((p) => [
      svg("line", { x1: 28, x2: 458, y1: 60 - p * 50 / 6, y2: 60 - p * 50 / 6, stroke: "var(--live-rule)" }),
      svg("text", { x: 24, y: 64 - p * 50 / 6, "font-size": 12, "text-anchor": "end" }, "10", svg("tspan", { dy: -4, "font-size": 9 }, String(p).replace("-", "−")))]),
    svg("polyline", { points: losses.map(at).join(" "), fill: "none", stroke: "var(--live-mark)", "stroke-width": 2 }));
    const t = path.length - 1, value = loss(), first = surface.loss(...path[0]);
    const words = t > 0 && gone() ? `Diverged: after ${t} steps the loss is ${isFinite(value) ? value.toExponential(1) : "not even a number any more"}, and the ball is out of the picture.`
      : `Step ${t}: loss ${value.toPrecision(3)}${t > 2 && value > 2 * first ? ". It grows: the steps are too long" : ""}.`;
    kit.say(`${rule}, rate ${rate.toPrecision(2)}. ${words}`);
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
  drag(map, (u, v) => begin(surface.view[0] + u * WIDE / unit, surface.view[3] - v * high / unit));
  arrows(map, (dx, dy) => begin(start[0] + dx * 0.1, start[1] - dy * 0.1));
  function reset() {
    surface = SURFACES.valley;
    surfaces.set("valley");
    rule = "gradient descent";
    rules.set(rule);
    rate = RULES[rule].rate;
    rates.set(Math.log10(rate));
    start = surface.start;
    contours();
    restart();
  }
  reset();
  return { reset };
});
