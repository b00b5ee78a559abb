// Tables that scroll sideways on a narrow screen can be reached and scrolled with the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  const reach = () => {
    for (const table of document.querySelectorAll("article table")) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0; else table.removeAttribute("tabindex");
    }
  };
  reach();
  addEventListener("resize", reach);
});

// Folded text is printed, too; what was folded before is folded again afterwards.
const unfolded = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("article details:not(.cell details, [open])")) { details.open = true; unfolded.push(details); }
});
addEventListener("afterprint", () => { for (const details of unfolded.splice(0)) details.open = false; });
