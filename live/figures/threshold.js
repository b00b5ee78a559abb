// threshold: only what the network is sure of is answered. How many photos are left, and how many of the answers are wrong.
LIVE.figure("threshold", async (kit) => {
  const { el, svg, select, slider, percent } = LIVE, { labels, runs } = await LIVE.answers();
  const names = [...new Set(runs.map((run) => run.name))], LEFT = 52, TOP = 8, HIGH = 210;
  let run, least;

  const network = select({ label: "Network", choices: names.map((n) => [n, n]), onchange: (name) => { take(name, run.seed); } });
  const seeds = select({ label: "Seed", choices: [], onchange: (seed) => take(run.name, +seed) });
  const sure = slider({ label: "Answer if sure by", min: 0.5, max: 0.999, step: 0.001, value: 0.5, shown: (v) => percent(v, 1), oninput: (v) => { least = v; draw(); } });
  const parts = ["right", "wrong", "refused"].map((word) => el("div", { class: `live-${word}`, style: "padding: 0.15em 0; overflow: hidden; white-space: nowrap; text-align: center" }));
  parts[0].style.cssText += "; background: var(--live-quiet); color: var(--live-paper)";
  parts[1].style.cssText += "; background: var(--live-ink); color: var(--live-paper)";
  parts[2].style.cssText += "; background: var(--live-rule)";
  const curve = LIVE.plot("", drawn);
  const key = el("p", { class: "live-note", style: "margin: 0.3em 0 0.8em" });
  kit.stage.append(el("div", { class: "live-controls" }, network.box, seeds.box), el("div", { class: "live-controls" }, sure.box),
    el("div", { style: "display: flex; border-radius: 6px; overflow: hidden", "aria-hidden": "true" }, parts), key,
    el("p", { class: "live-title" }, "Risk: wrong answers among those given, by coverage: photos that are answered"), curve.box);

  // The photos from the surest to the least sure one, and after each how many of the answers so far are wrong.
  let order, wrong, most;
  function take(name, seed) {
    const own = runs.filter((r) => r.name === name);
    run = own.find((r) => r.seed === seed) || own[0];
    network.set(name);
    seeds.input.replaceChildren(...own.map((r) => el("option", { value: r.seed }, r.seed)));
    seeds.set(run.seed);
    const certainty = (i) => Math.max(run.p[i], 1 - run.p[i]);
    order = [...labels.keys()].sort((a, b) => certainty(b) - certainty(a)).map((i) => ({ sure: certainty(i), wrong: (run.p[i] > 0.5) !== (labels[i] === 1) }));
    let count = 0;
    wrong = order.map((one) => (count += one.wrong ? 1 : 0));
    most = Math.max(0.02, 1.15 * Math.max(...wrong.map((w, i) => (i < order.length / 20 ? 0 : w / (i + 1)))));
    draw();
  }
  const given = () => order.filter((one) => one.sure >= least).length;
  function drawn(width, picture) {
    const n = order.length, some = given(), right = width - 10, x = (share) => LEFT + share * (right - LEFT), y = (risk) => TOP + (1 - Math.min(risk / most, 1)) * (HIGH - TOP);
    const points = wrong.map((w, i) => `${x((i + 1) / n).toFixed(1)},${y(w / (i + 1)).toFixed(1)}`), text = (at, words) => svg("text", at, words);
    picture.replaceChildren(
      ...[0, 0.5, 1].map((share) => share * most).flatMap((r) => [svg("line", { x1: LEFT, x2: right, y1: y(r), y2: y(r), stroke: "var(--live-rule)" }), text({ x: LEFT - 6, y: y(r) + 4, "text-anchor": "end" }, percent(r, 1))]),
      ...(width < 400 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((share) => text({ x: x(share), y: HIGH + 18, "text-anchor": share === 1 ? "end" : "middle" }, percent(share))),
      text({ x: x(0.5), y: HIGH + 36, "text-anchor": "middle" }, "coverage"),
      svg("polyline", { points: points.join(" "), fill: "none", stroke: "var(--live-ink)", "stroke-width": 2 }),
      svg("circle", { cx: x(some / n), cy: y(some ? wrong[some - 1] / some : 0), r: 7, fill: "var(--live-mark)", stroke: "var(--live-paper)", "stroke-width": 2 }));
    return HIGH + 42;
  }
  function draw() {
    const n = order.length, some = given(), bad = some ? wrong[some - 1] : 0, refused = n - some;
    [some - bad, bad, refused].forEach((count, i) => { parts[i].style.width = `${100 * count / n}%`; parts[i].textContent = count > n / 14 ? count : ""; });
    key.textContent = `${some - bad} right, ${bad} wrong, ${refused} refused`;
    curve.redraw();
    const words = some ? `${some} of ${n} photos answered, ${bad} of them wrongly: coverage ${percent(some / n, 1)}, risk ${percent(bad / some, 1)}. Of the ${refused} refused, ${wrong[n - 1] - bad} would have been wrong.` : "No photo is answered.";
    curve.picture.setAttribute("aria-label", words);
    kit.say(words);
  }
  function reset() {
    least = 0.5;
    sure.set(least);
    take(names.includes(kit.options.network) ? kit.options.network : names[0], 0);
  }
  reset();
  return { reset };
});
