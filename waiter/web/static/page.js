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
// Says below a chart what the bar stands for that is pointed at, and what stood there when nothing is.
let pointed = null;
document.addEventListener("pointerover", (event) => {
  const bar = event.target.closest?.(".chart .picture g");
  if (pointed && pointed.value.textContent === pointed.words) pointed.value.textContent = pointed.note;
  pointed = null;
  if (!bar) return;
  const value = bar.closest("figure").querySelector(".value");
  pointed = { value, note: value.textContent, words: bar.querySelector("title").textContent };
  value.textContent = pointed.words;
});
