// compare: two experiments of the edition on the same test photos: where they disagree, and whether chance explains it.
LIVE.figure("compare", async (kit) => {
  const { el, svg, select, percent } = LIVE, { photos, labels, runs } = await LIVE.answers();
  const names = [...new Set(runs.map((run) => run.name))], EDGE = 64;
  const given = (kit.options.experiments || []).filter((name) => names.includes(name)), first = [given[0] || names[0], given[1] || names[1] || names[0]];
  let pair, seed;

  const pick = (label, i) => select({ label, choices: names.map((n) => [n, n]), onchange: (name) => { pair[i] = name; draw(); } });
  const [one, other] = [pick("First", 0), pick("Second", 1)], seeds = select({ label: "Seed", choices: [], onchange: (s) => { seed = +s; draw(); } });
  const cloud = LIVE.plot("", drawn), table = el("div"), list = el("tbody");
  const rows = el("details", {}, el("summary", {}, "The photos on which they disagree most"), el("table", { class: "live-table" },
    el("thead", {}, el("tr", {}, ["photo", "first: dog", "second: dog"].map((t) => el("th", { scope: "col" }, t)))), list));
  kit.stage.append(el("div", { class: "live-controls" }, one.box, other.box, seeds.box),
    el("div", { class: "live-side" }, el("div", { style: "flex: 2 1 17em; max-width: 28em" }, cloud.box), el("div", {}, table, rows)));

  // McNemar's exact test: if both are equally good, each of n photos on which only one is right is as likely to be the one's as the other's.
  function mcnemar(b, c) {
    const n = b + c;
    let term = -n * Math.LN2, sum = 0;  // the logarithm of the chance of k = 0, 1, …
    for (let k = 0; k <= Math.min(b, c); k++) { sum += Math.exp(term); term += Math.log((n - k) / (k + 1)); }
    return Math.min(1, 2 * sum);
  }
  let p, q, right;  // what both say of each photo, and which photos each gets right
  function drawn(width, picture) {  // each photo: what the first says (to the right) and what the second says (upwards)
    const side = width - EDGE - 4, x = (v) => EDGE + v * side, y = (v) => side + 4 - v * side, split = (i) => right[0][i] !== right[1][i], text = (at, words) => svg("text", at, words);
    const dot = (i) => svg("circle", { cx: x(p[i]).toFixed(1), cy: y(q[i]).toFixed(1), r: split(i) ? 4 : 2.2, fill: `var(--live-${labels[i] ? "dog" : "cat"})`, opacity: split(i) ? 0.9 : 0.45 });
    picture.replaceChildren(
      svg("rect", { x: EDGE, y: 4, width: side, height: side, fill: "var(--live-paper)" }),
      svg("path", { d: `M${x(0.5)} 4V${y(0)}M${EDGE} ${y(0.5)}H${x(1)}`, stroke: "var(--live-quiet)", "stroke-dasharray": "4 4" }),
      ...(p ? [...labels.keys()].sort((i, j) => split(i) - split(j)).map(dot) : []),
      ...[0, 0.5, 1].flatMap((v) => [text({ x: x(v), y: side + 21, "text-anchor": v === 1 ? "end" : "middle" }, percent(v)), text({ x: EDGE - 5, y: y(v) + (v === 1 ? 12 : 4), "text-anchor": "end" }, percent(v))]),
      text({ x: x(0.5), y: side + 39, "text-anchor": "middle" }, `dog, says ${pair[0]}`), text({ x: 12, y: y(0.5), "text-anchor": "middle", transform: `rotate(-90 12 ${y(0.5)})` }, `dog, says ${pair[1]}`));
    return side + 45;
  }
  function draw() {
    const shared = runs.filter((r) => r.name === pair[0]).map((r) => r.seed).filter((s) => runs.some((r) => r.name === pair[1] && r.seed === s));
    one.set(pair[0]);
    other.set(pair[1]);
    seeds.input.replaceChildren(...shared.map((s) => el("option", { value: s }, s)));
    if (!shared.includes(seed)) seed = shared[0];
    if (seed === undefined) {
      p = null;
      cloud.redraw();
      table.replaceChildren();
      list.replaceChildren();
      return kit.say("These two have no seed in common.");
    }
    seeds.set(seed);
    [p, q] = pair.map((name) => runs.find((r) => r.name === name && r.seed === seed).p);
    right = [p, q].map((answers) => labels.map((label, i) => (answers[i] > 0.5) === (label === 1)));
    cloud.redraw();
    const n = labels.length, count = (a, b) => labels.filter((_, i) => right[0][i] === a && right[1][i] === b).length;
    const both = count(true, true), b = count(true, false), c = count(false, true), none = count(false, false), chance = mcnemar(b, c);
    const cells = (name, ...numbers) => el("tr", {}, el("th", { scope: "row" }, name), numbers.map((v) => el("td", {}, String(v))));
    table.replaceChildren(el("table", { class: "live-table" }, el("thead", {}, el("tr", {}, ["photos", "second right", "wrong"].map((t) => el("th", { scope: "col" }, t)))),
      el("tbody", {}, cells("first right", both, b), cells("first wrong", c, none))),
    el("p", { class: "live-note", style: "margin: 0.5em 0" }, el("span", { class: "live-cat" }, "cats"), ", ", el("span", { class: "live-dog" }, "dogs"), "; large dots: one is right, the other wrong."));
    const apart = [...labels.keys()].filter((i) => right[0][i] !== right[1][i]).sort((i, j) => Math.abs(p[j] - q[j]) - Math.abs(p[i] - q[i])).slice(0, 12);
    list.replaceChildren(...apart.map((i) => el("tr", {}, el("th", { scope: "row", class: labels[i] ? "live-dog" : "live-cat" }, photos[i]), el("td", {}, percent(p[i])), el("td", {}, percent(q[i])))));
    const difference = (c - b) / n, spread = 1.96 * Math.sqrt(Math.max(b + c - (b - c) ** 2 / n, 0)) / n, points = (v) => `${v < 0 ? "−" : "+"}${(100 * Math.abs(v)).toFixed(1)}`;
    const words = `First ${percent((both + b) / n, 1)}, second ${percent((both + c) / n, 1)}: ${points(difference)} points, 95\u202f% interval ${points(difference - spread)} to ${points(difference + spread)}. They disagree on ${b + c} photos, ${b} to ${c}; McNemar’s p is ${chance < 1e-4 ? "below 0.0001" : chance.toFixed(4)}.`;
    cloud.picture.setAttribute("aria-label", words);
    kit.say(words);
  }
  function reset() {
    pair = [...first];
    seed = 0;
    draw();
  }
  reset();
  return { reset };
});
