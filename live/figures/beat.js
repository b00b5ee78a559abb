// beat: twenty hard test photos. The reader says cat or dog, and sees the score beside each network's.
LIVE.figure("beat", async (kit) => {
  const { el, button } = LIVE, { photos, scores } = await LIVE.load("hard"), box = el("div", { class: "live-beat" });
  let at, said;
  kit.stage.append(box);
  // In an order that gives nothing away, another one for each reader and round.
  const shuffled = () => photos.map((photo) => ({ photo, by: Math.random() })).sort((a, b) => a.by - b.by).map(({ photo }) => photo);
  let order;
  const image = (photo, alt) => el("img", { src: `data:${photo.type};base64,${photo.bytes}`, alt });

  function ask() {
    const buttons = ["cat", "dog"].map((word, label) => button(word === "cat" ? "Cat" : "Dog", () => say(label), { class: `live-say-${word}` }));
    box.replaceChildren(image(order[at], `Photo ${at + 1} of ${order.length}, to be guessed`), el("div", { class: "live-controls", style: "margin-top: 0.8em" }, buttons, el("span", { class: "live-note" }, `photo ${at + 1} of ${order.length}; keys C and D`)));
    if (at) buttons[0].focus({ preventScroll: true });
    kit.say(`Photo ${at + 1} of ${order.length}: cat or dog?`);
  }
  function say(label) {
    said.push(label);
    at++;
    at < order.length ? ask() : done();
  }
  function done() {
    const right = order.filter((photo, i) => photo.label === said[i]).length, missed = order.filter((photo, i) => photo.label !== said[i]);
    const row = (name, count, strong) => el("tr", {}, el("th", { scope: "row", style: strong ? "font-weight: 700" : "" }, name), el("td", {}, count), el("td", { style: "width: 9em; max-width: 30vw" }, el("div", { "aria-hidden": "true", style: `height: 0.7em; border-radius: 3px; background: var(--live-${strong ? "mark" : "quiet"}); width: ${100 * count / order.length}%` })));
    const rows = scores.map(({ name, right: mean }) => [name, +mean.toFixed(1), false]);
    const all = [...rows, ["you", right, true]].sort((a, b) => a[1] - b[1]);
    box.replaceChildren(el("div", { class: "live-side" },
      el("div", {}, el("table", { class: "live-table" }, el("thead", {}, el("tr", {}, ["", "right"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, all.map((r) => row(...r)))),
        el("p", { class: "live-note" }, `of ${order.length}; networks: mean over their seeds`)),
      el("div", {}, el("p", { class: "live-title" }, missed.length ? "you missed" : "you missed none"), el("div", { class: "live-missed" }, missed.map((photo) => image(photo, photo.label ? "a dog that you took for a cat" : "a cat that you took for a dog"))))),
    button("Once more", reset, { class: "live-again" }));
    const beaten = scores.filter((score) => score.right < right).length;
    kit.say(`You are right about ${right} of ${order.length}: better than ${beaten} of ${scores.length} networks.`);
    box.querySelector(".live-again").focus({ preventScroll: true });
  }
  kit.stage.addEventListener("keydown", (event) => {
    const label = { c: 0, d: 1 }[event.key.toLowerCase()];
    if (label !== undefined && at < order.length && !event.ctrlKey && !event.metaKey && !event.altKey) say(label);
  });
  function reset() {
    order = shuffled();
    at = 0;
    said = [];
    ask();
  }
  reset();
  return { reset };
});
