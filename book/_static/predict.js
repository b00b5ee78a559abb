// Predictions: the reader's answers are kept in this browser's storage and sent nowhere. src/questions.py writes what this script finds:
//   [data-predict]      a question; gets a field and a button
//   [data-predicted]    a place beside a result; says what the reader said and how far off it was
//   [data-predictions]  the table of all questions of the book, with a button that forgets the answers
// Each carries as JSON: name, kind (percent, number, choice), and if the run has a result: result (a number or a choice), shown (as text).
(() => {
  const KEY = "cats-and-dogs-book.predictions";
  let memory = {};  // for browsers that keep nothing
  let keeps = true;

  function read() {
    try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch { keeps = false; return memory; }
  }
  function write(answers) {
    memory = answers;
    try { localStorage.setItem(KEY, JSON.stringify(answers)); } catch { keeps = false; }
  }

  const amount = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });
  const withUnit = (value, question) => amount(value, Math.max(question.digits, 2)) + (question.unit ? "\u00a0" + question.unit : "");
  const words = (value, question) => question.kind === "choice" ? value : withUnit(value, question);

  // How far off: "" if it is right.
  function off(value, question) {
    if (question.kind === "choice") return value === question.result ? "" : "another";
    const away = Math.abs(value - question.result);
    if (away < 0.5 * 10 ** -question.digits) return "";
    const unit = question.kind === "percent" ? (amount(away, question.digits) === "1" ? "point" : "points") : question.unit;
    return amount(away, Math.max(question.digits, 1)) + (unit ? "\u00a0" + unit : "");
  }

  function verdict(value, question) {
    const said = `You said ${words(value, question)}.`;
    if (question.result === null) return `${said} This run has no result yet.`;
    const away = off(value, question);
    if (question.kind === "choice") return away ? `${said} What was found: ${question.shown}.` : `${said} So it is.`;
    return away ? `${said} It is ${question.shown}: you were ${away} too ${value > question.result ? "high" : "low"}.` : `${said} It is ${question.shown}: exactly right.`;
  }

  function element(tag, attributes = {}, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  }

  // --- a question ---

  function ask(card) {
    const question = JSON.parse(card.dataset.predict);
    const form = element("form", { className: "book-answer", noValidate: true, autocomplete: "off" });
    const button = element("button", { type: "submit" });
    const status = element("output");
    status.setAttribute("role", "status");
    const field = question.kind === "choice" ? choices(card, question) : numbers(question, card.id);
    form.append(...field.parts, button, status);
    card.append(form);
    card.classList.add("playing");

    const show = () => {
      const kept = read()[question.name];
      form.classList.toggle("kept", kept !== undefined);
      button.textContent = kept === undefined ? "Keep my guess" : "Change it";
      if (kept !== undefined) field.set(kept);
      return kept;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = field.get();
      if (value === null) { status.textContent = field.wanted; field.focus(); return; }
      write({ ...read(), [question.name]: value });
      show();
      status.textContent = `${words(value, question)} is kept, ` + (keeps ? "in this browser only. You will meet it again beside the result." : "until you leave this page: this browser stores nothing.");
      document.dispatchEvent(new Event("book-predicted"));
    });
    document.addEventListener("book-forgotten", () => { field.set(null); status.textContent = ""; show(); });
    if (show() !== undefined) status.textContent = "Kept in this browser only. You will meet it again beside the result.";
  }

  function numbers(question, id) {
    const input = element("input", { type: "number", inputMode: "decimal", step: "any", id: `${id}-number`, placeholder: "?" });
    const name = `Your guess${question.unit ? `, in ${question.unit}` : ""}`;
    input.setAttribute("aria-label", name);
    const number = element("span", { className: "book-number" }, input);
    if (question.unit) number.append(element("span", { className: "book-unit", textContent: question.unit, ariaHidden: "true" }));
    const parts = [number];
    const field = {
      parts,
      wanted: "Type a number first.",
      get: () => (input.value.trim() === "" || !Number.isFinite(input.valueAsNumber) ? null : input.valueAsNumber),
      set: (value) => { input.value = value ?? ""; if (slider) slider.value = value ?? (question.range[0] + question.range[1]) / 2; },
      focus: () => input.focus(),
    };
    let slider = null;
    if (question.range) {
      const [low, high] = question.range;
      slider = element("input", { type: "range", min: low, max: high, step: (high - low) / 100 < 1 ? "any" : 1 });
      if (question.kind === "percent") slider.step = 1;
      slider.setAttribute("aria-label", `${name}, on a slider`);
      slider.addEventListener("input", () => { input.value = Number(Number(slider.value).toPrecision(3)); });
      input.addEventListener("input", () => { if (input.value !== "") slider.value = input.value; });
      parts.push(slider);
      field.set(null);
    }
    return field;
  }

  function choices(card, question) {
    const set = element("fieldset");
    set.setAttribute("aria-labelledby", `${card.id}-title`);
    const radios = question.choices.map((choice) => {
      const radio = element("input", { type: "radio", name: question.name, value: choice });
      set.append(element("label", {}, radio, element("span", { textContent: choice })));
      return radio;
    });
    return {
      parts: [set],
      wanted: "Choose one first.",
      get: () => radios.find((radio) => radio.checked)?.value ?? null,
      set: (value) => { for (const radio of radios) radio.checked = radio.value === value; },
      focus: () => radios[0].focus(),
    };
  }

  // --- beside a result, and all of them ---

  function compare(place) {
    const question = JSON.parse(place.dataset.predicted);
    const value = read()[question.name];
    place.hidden = value === undefined;
    place.textContent = value === undefined ? "" : verdict(value, question);
  }

  function list(block) {
    const rows = [...block.querySelectorAll("[data-row]")], answers = read();
    let said = 0;
    for (const row of rows) {
      const question = JSON.parse(row.dataset.row), value = answers[question.name], cells = row.querySelectorAll("td");
      const known = value !== undefined && question.result !== null;
      said += value !== undefined;
      cells[1].textContent = value === undefined ? "–" : words(value, question);
      cells[2].textContent = known ? question.shown : "–";
      cells[3].textContent = known ? off(value, question) || "nothing" : "–";
    }
    const controls = block.querySelector(".book-forget");
    controls.hidden = false;
    controls.querySelector("output").textContent = `${said} of ${rows.length} questions answered.`;
    controls.querySelector("button").disabled = said === 0;
  }

  addEventListener("DOMContentLoaded", () => {
    const places = document.querySelectorAll("[data-predicted]"), lists = document.querySelectorAll("[data-predictions]");
    const refresh = () => { places.forEach(compare); lists.forEach(list); };
    document.querySelectorAll("[data-predict]").forEach(ask);
    for (const block of lists) {
      block.querySelector(".book-forget button").addEventListener("click", () => {
        write({});
        try { localStorage.removeItem(KEY); } catch { keeps = false; }
        document.dispatchEvent(new Event("book-forgotten"));
        refresh();
        block.querySelector(".book-forget output").textContent = "Forgotten. No answer is kept.";
      });
    }
    document.addEventListener("book-predicted", refresh);
    addEventListener("pageshow", refresh);
    refresh();
  });
})();
