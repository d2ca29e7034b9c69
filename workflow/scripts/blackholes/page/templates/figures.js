// Each figure as a file: the PNG that is shown, and the SVG, unpacked when it is asked for.

for (const button of document.querySelectorAll("button[data-png]")) {
  button.addEventListener("click", () => {
    make("a", {href: button.closest("figure").querySelector("img").src, download: button.dataset.png}).click();
  });
}

for (const button of document.querySelectorAll("button[data-svg]")) {
  button.addEventListener("click", async () => {
    download(button.dataset.name, await unpackText(button.dataset.svg), "image/svg+xml");
  });
}
