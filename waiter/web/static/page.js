"use strict";
// Puts what the server says into the live parts of the page. Without this the page loads itself anew now and then.
const live = document.getElementById("live");
if (live) {
  const events = new EventSource(live.dataset.events);
  for (const part of live.querySelectorAll(":scope > [id]")) {
    events.addEventListener(part.id.replace("live-", ""), (event) => {
      if (part.contains(document.activeElement)) return; // somebody is about to use what stands there
      const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
      part.innerHTML = JSON.parse(event.data); // made by our templates, which escape all text
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    });
  }
  events.addEventListener("open", () => document.querySelector("#live > .gone")?.remove());
  events.addEventListener("error", () => {
    if (document.querySelector("#live > .gone")) return;
    const said = document.createElement("p");
    said.className = "trouble gone";
    said.setAttribute("role", "alert");
    said.textContent = "The server does not answer; what stands here is old.";
    live.prepend(said);
  });
}
// Says below a chart what the bar stands for that is pointed at.
document.addEventListener("pointerover", (event) => {
  const bar = event.target.closest?.(".picture g");
  const value = bar?.closest("figure").querySelector(".value");
  if (value) value.textContent = bar.querySelector("title").textContent;
});
