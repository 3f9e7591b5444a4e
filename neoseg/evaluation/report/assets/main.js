// Controls, comparisons, figures, runs and cards; then the first drawing of everything.
function startControls() {
  const arms = document.getElementById("arms");
  DATA.arms.forEach((arm, position) => {
    const box = el("input", { type: "checkbox", value: position });
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) state.arms.add(position); else state.arms.delete(position);
      changed();
    });
    arms.append(el("label", {}, box, swatch(arm), arm.name));
  });
  for (const [id, choices] of [
    ["metric", DATA.metrics.map((entry) => [entry.key, entry.title])],
    ["group", DATA.groups.map((name) => [name, name])],
  ]) {
    const select = document.getElementById(id);
    select.append(...choices.map(([value, text]) => el("option", { value }, text)));
    select.value = state[id];
    select.addEventListener("change", () => { state[id] = select.value; changed(); });
  }
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
}

function drawTests() {
  const { digits } = metric();
  const rows = DATA.tests.filter((row) => row.metric === state.metric && row.group === state.group
    && state.arms.has(row.first) && state.arms.has(row.second));
  const place = document.getElementById("tests");
  if (DATA.arms.length < 2) {
    replace("tests-note", "One arm alone: there is nothing to compare.");
    return;
  }
  const listed = DATA.tests.some((row) => row.metric === state.metric);
  replace("tests-note", listed
    ? `${metric().title}, ${state.group} scans: first minus second arm on the same scans. Methods are compared over draws and subjects; networks, of arms with fewer than three draws, over subjects alone. Holm is within each family of this score and age; what is exploratory is not corrected.`
    : `Comparisons of ${metric().title} are in tests.csv.`);
  if (!rows.length) {
    place.replaceChildren(el("p", { class: "note" }, listed ? "Pick two arms that are compared." : ""));
    return;
  }
  const p = (title, key) => ({
    title, kind: "number", value: (row) => row[key], text: (row) => probability(row[key]),
    mark: (row) => (key === "holm" && row.compares === "methods" && row[key] !== null && row[key] < 0.05 ? "low-p" : ""),
  });
  sortable(place, [
    { title: "first", kind: "text", value: (row) => DATA.arms[row.first].name },
    { title: "second", kind: "text", value: (row) => DATA.arms[row.second].name },
    { title: "structure", kind: "text", value: (row) => DATA.classes[row.structure].abbreviation },
    { title: "difference", kind: "number", value: (row) => row.difference, text: (row) => number(row.difference, digits) },
    { title: DATA.interval, kind: "number", value: (row) => row.low, text: (row) => range(row.low, row.high, digits) },
    p("p", "p"),
    p("Holm", "holm"),
    {
      title: "permutation p (smallest)", kind: "number", value: (row) => row.permutation,
      text: (row) => (row.permutation === null ? probability(null) : `${probability(row.permutation)} (${probability(row.smallest)})`),
    },
    ...(rows.some((row) => row.gap[0] !== null) ? [
      { title: "gap closed", kind: "number", value: (row) => row.gap[0], text: (row) => number(row.gap[0], 2) },
      { title: "its interval", kind: "number", value: (row) => row.gap[1], text: (row) => range(row.gap[1], row.gap[2], 2) },
    ] : []),
    ...(rows.some((row) => row.equal[0] !== null) ? [
      { title: "not worse p", kind: "number", value: (row) => row.equal[0], text: (row) => probability(row.equal[0]) },
      { title: "equal p", kind: "number", value: (row) => row.equal[1], text: (row) => probability(row.equal[1]) },
    ] : []),
    {
      title: "d", kind: "number", value: (row) => row.d,
      text: (row) => (row.d === null ? "n/a" : number(row.d, 2)),
      note: (row) => (row.d !== null ? null : row.subjects < 2 ? "one subject" : "the subjects' differences do not vary"),
    },
    { title: "family", kind: "text", value: (row) => row.family },
    { title: "compares", kind: "text", value: (row) => row.compares },
    { title: "draws", kind: "text", value: (row) => row.draws },
    { title: "scans", kind: "number", value: (row) => row.scans },
    { title: "subjects", kind: "number", value: (row) => row.subjects, mark: (row) => (row.subjects < DATA.fewSubjects ? "few" : "") },
  ], rows);
}

function drawRuns() {
  const rows = DATA.runs.filter((row) => state.arms.has(row.arm));
  const plain = (title, key, digits) => ({
    title, kind: "number", value: (row) => row[key],
    text: (row) => (row[key] === null ? "n/a" : digits === undefined ? row[key] : row[key].toFixed(digits)),
  });
  sortable(document.getElementById("runs"), [
    { title: "arm", kind: "text", value: (row) => DATA.arms[row.arm].name },
    { title: "draw", kind: "text", value: (row) => row.draw },
    plain("Dice", "dice", 3),
    plain("steps", "steps"),
    plain("minutes", "minutes", 1),
    plain("memory GiB", "memory", 2),
    plain("energy Wh", "energy", 2),
    { title: "scans full/partial/unlabelled/validation", kind: "text", value: (row) => row.budget || "n/a" },
    { title: "device", kind: "text", value: (row) => row.device },
    { title: "run", kind: "text", value: (row) => row.run },
  ], rows);
}

function startRest() {
  replace("about", DATA.about);
  replace("warning", DATA.warning);
  replace("figures", ...DATA.figures.map((figure) => el("figure", {},
    el("img", { src: figure.src, alt: figure.title, loading: "lazy" }),
    el("figcaption", {}, figure.title))));
  if (DATA.unfinished.length) {
    replace("unfinished", el("h3", {}, `Left out, ${DATA.unfinished.length} not finished`),
      el("ul", {}, ...DATA.unfinished.map((run) => el("li", {}, `${run.run}: ${run.reason}`))));
  }
  replace("cards", ...DATA.cards.map((card) => el("details", {}, el("summary", {}, card.run), el("pre", {}, card.text))));
  replace("notes", ...DATA.notes.map((note) => el("li", {}, note)));
}

startControls();
startRest();
startViewer();
watchers.push(drawTests, drawRuns);
changed();
document.documentElement.dataset.ready = "yes";
