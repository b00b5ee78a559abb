// A player for films in the pages: <div class="film"> with one <div class="frame"> per frame. Without this script the page shows
// the frames of class "key". Buttons and slider are ordinary controls, so they work with the keyboard and a reader.
document.addEventListener("DOMContentLoaded", () => {
  for (const film of document.querySelectorAll(".film")) {
    const frames = [...film.querySelectorAll(".frame")];
    const controls = document.createElement("div");
    controls.className = "film-controls";
    controls.innerHTML =
      '<button type="button" class="back">back</button><button type="button" class="play">play</button>' +
      '<button type="button" class="on">on</button><input type="range" min="0" step="1"><output></output>';
    const [back, play, on] = controls.querySelectorAll("button");
    const slider = controls.querySelector("input"), output = controls.querySelector("output");
    slider.max = frames.length - 1;
    slider.setAttribute("aria-label", film.dataset.label);
    let timer = null;
    const show = (index) => {
      const now = (index + frames.length) % frames.length;
      frames.forEach((frame, i) => { frame.hidden = i !== now; });
      slider.value = now;
      output.textContent = frames[now].querySelector("p").textContent;
      slider.setAttribute("aria-valuetext", output.textContent);
    };
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "play"; };
    back.onclick = () => { stop(); show(+slider.value - 1); };
    on.onclick = () => { stop(); show(+slider.value + 1); };
    slider.oninput = () => { stop(); show(+slider.value); };
    play.onclick = () => {
      if (timer) return stop();
      play.textContent = "stop";
      timer = setInterval(() => show(+slider.value + 1), 500);
    };
    film.classList.add("playing");
    film.prepend(controls);
    show(0);
  }
});
