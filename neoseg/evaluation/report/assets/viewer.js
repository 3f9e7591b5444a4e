// Slices of the worst and median cases: the truth, and each picked arm with its prediction or its
// disagreement laid over the image.
const view = { number: 0, opacity: 0.5, layer: "prediction", slices: [0, 0, 0] };
const pictures = new Map();
const COLUMN = 400; // pixels that are painted; the style sheet says how large they are shown

function load(uri) {
  if (!pictures.has(uri)) {
    const picture = new Image();
    picture.src = uri;
    pictures.set(uri, picture.decode().then(() => picture));
  }
  return pictures.get(uri);
}

function startViewer() {
  if (!DATA.cases.length) {
    replace("viewer", el("p", { class: "note" }, "No run has kept its test scans."));
    return;
  }
  const choice = el("select", { id: "case" }, ...DATA.cases.map((entry, number) => el("option", { value: number }, entry.title)));
  choice.addEventListener("change", () => { view.number = Number(choice.value); centre(); drawViewer(); });
  const opacity = el("input", { id: "opacity", type: "range", min: 0, max: 100, value: 50 });
  opacity.addEventListener("input", () => { view.opacity = Number(opacity.value) / 100; paintAll(); });
  const layers = [["prediction", "prediction"], ["wrong", "disagreement"], ["none", "image alone"]].map(([value, text]) => {
    const input = el("input", { type: "radio", name: "layer", value });
    input.checked = value === view.layer;
    input.addEventListener("change", () => { view.layer = value; paintAll(); });
    return el("label", {}, input, text);
  });
  replace(
    "viewer",
    el("div", { class: "bar" }, el("label", {}, "Case ", choice), el("label", {}, "Opacity ", opacity), ...layers),
    el("p", { class: "note", id: "case-note" }),
    el("div", { id: "planes" }),
    el("div", { class: "legend", id: "structures" }),
  );
  centre();
  watchers.push(drawViewer);
}

function centre() {
  const { planes } = scan();
  view.slices = planes ? planes.map((plane) => Math.floor(plane.slices / 2)) : [0, 0, 0];
}

function scan() {
  return DATA.scans[DATA.cases[view.number].scan];
}

function drawViewer() {
  const shown = DATA.cases[view.number];
  replace("case-note", shown.note);
  const places = document.getElementById("planes");
  const arms = picked().filter((arm) => scan().arms[arm]);
  if (!scan().planes) {
    const drawn = arms.map((arm) => el("figure", {},
      el("img", { src: scan().arms[arm].picture, alt: `${shown.title}, ${DATA.arms[arm].name}` }),
      caption(arm)));
    places.replaceChildren(el("div", { class: "row" }, ...drawn));
    replace("structures");
    return;
  }
  places.replaceChildren(...scan().planes.map((plane, axis) => drawPlane(plane, axis, arms)));
  replace("structures", ...scan().colours.map(([name, colour]) => {
    const key = el("span", { class: "key" });
    key.style.backgroundColor = colour;
    return el("label", {}, key, name);
  }));
}

function caption(arm) {
  const { run, dice } = scan().arms[arm];
  return el("figcaption", { title: run }, swatch(DATA.arms[arm]), ` ${DATA.arms[arm].name}, Dice ${number(dice, 3)}`);
}

function drawPlane(plane, axis, arms) {
  const slider = el("input", {
    type: "range", min: 0, max: plane.slices - 1, value: view.slices[axis], class: "slice", "data-axis": axis,
    "aria-label": `${plane.name} slice`,
  });
  const count = el("output", {}, `${view.slices[axis] + 1} of ${plane.slices}`);
  const canvases = [canvasOf(plane, axis, null), ...arms.map((arm) => canvasOf(plane, axis, arm))];
  slider.addEventListener("input", () => {
    view.slices[axis] = Number(slider.value);
    count.textContent = `${view.slices[axis] + 1} of ${plane.slices}`;
    canvases.forEach(({ canvas }) => paint(canvas));
  });
  return el("div", { class: "plane" },
    el("label", {}, `${plane.name} (left ${plane.left}, right ${plane.right}) `, slider, count),
    el("div", { class: "row" }, ...canvases.map(({ figure }) => figure)));
}

function canvasOf(plane, axis, arm) {
  const widest = Math.max(...scan().planes.map((other) => other.mm[0]));
  const zoom = COLUMN / widest;
  const canvas = el("canvas", {
    width: Math.round(plane.mm[0] * zoom), height: Math.round(plane.mm[1] * zoom), role: "img",
    "data-axis": axis, "data-arm": arm === null ? "truth" : arm,
    "aria-label": `${plane.name}, ${arm === null ? "truth" : DATA.arms[arm].name}`,
  });
  const text = arm === null ? el("figcaption", {}, "truth") : caption(arm);
  paint(canvas);
  canvas.style.width = `${(100 * plane.mm[0]) / widest}%`;
  return { canvas, figure: el("figure", {}, canvas, text) };
}

function paintAll() {
  for (const canvas of document.querySelectorAll("#planes canvas")) paint(canvas);
}

// Strips hold the slices below each other. A canvas counts its paintings, so that a picture that
// arrives late never covers a newer one.
function paint(canvas) {
  const shown = scan();
  const axis = Number(canvas.dataset.axis);
  const { width, height } = shown.planes[axis];
  const slice = view.slices[axis];
  const turn = Number(canvas.dataset.turn || 0) + 1;
  canvas.dataset.turn = turn;
  const strips = [[shown.image[axis], 1, true]];
  if (canvas.dataset.arm === "truth") {
    if (view.layer !== "none") strips.push([shown.truth[axis], view.opacity, false]);
  } else if (view.layer !== "none") {
    strips.push([shown.arms[canvas.dataset.arm][view.layer][axis], view.opacity, false]);
  }
  Promise.all(strips.map(([uri]) => load(uri))).then((loaded) => {
    if (Number(canvas.dataset.turn) !== turn) return;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    loaded.forEach((picture, place) => {
      const [, alpha, smooth] = strips[place];
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = smooth;
      context.drawImage(picture, 0, slice * height, width, height, 0, 0, canvas.width, canvas.height);
    });
    canvas.dataset.painted = `${slice} ${view.layer} ${view.opacity}`;
  });
}
