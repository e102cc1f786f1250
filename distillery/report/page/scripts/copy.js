// Buttons that copy a text, also where the browser lends no clipboard to files.
"use strict";
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
function copyWith(button, find) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    await copyText(find());
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
for (const button of document.querySelectorAll("[data-copies]")) copyWith(button, () => document.getElementById(button.dataset.copies).textContent);
