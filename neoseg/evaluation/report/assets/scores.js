// Scores of the picked arms: the table, and bars of the same numbers.
// A cell is [mean, std, low, high, median, scans, subjects, draws, misses, inventions].
const MAX_BARS = 14;

function cell(structure, arm) {
  const table = (DATA.cells[state.metric] || {})[state.group];
  return table ? table[structure][arm] : null;
}

function better(one, other) {
  return metric().better * one > metric().better * other;
}

function drawScores() {
  const { digits } = metric();
  const arms = picked();
  const rows = DATA.classes
    .map((entry, position) => ({ entry, position }))
    .filter(({ position }) => DATA.arms.some((_, arm) => cell(position, arm)));
  const columns = [{
    title: "structure",
    kind: "text",
    value: ({ entry }) => entry.abbreviation,
    text: ({ entry }) => entry.abbreviation + (entry.hidden && !entry.mean ? "†" : ""),
    note: ({ entry }) => entry.name,
  }];
  for (const arm of arms) {
    columns.push({
      title: DATA.arms[arm].name,
      kind: "number",
      value: ({ position }) => (cell(position, arm) ? cell(position, arm)[0] : null),
      text: ({ position }) => meanAndStd(cell(position, arm), digits),
      note: ({ position }) => explained(cell(position, arm), digits),
      mark: ({ position }) => (isBest(position, arm, arms) ? "best" : ""),
    });
  }
  const rowClass = ({ entry }) => (entry.mean ? "mean" : null);
  sortable(document.getElementById("scores"), columns, rows, { rowClass });
  drawChart(rows.map(({ position }) => position), arms);
}

function meanAndStd(values, digits) {
  if (!values) return "–";
  const std = values[1] === null ? "" : ` ± ${number(values[1], digits)}`;
  return number(values[0], digits) + std;
}

function explained(values, digits) {
  if (!values) return null;
  const [, , low, high, median, scans, subjects, draws, misses, inventions] = values;
  return `${DATA.interval} ${range(low, high, digits)}; median ${number(median, digits)}; `
    + `${scans} scans of ${subjects} subjects, ${draws} draws; `
    + `${misses} missed, ${inventions} invented`;
}

function isBest(structure, arm, arms) {
  const own = cell(structure, arm);
  if (!own || !metric().better || arms.length < 2) return false;
  return arms.every((other) => !cell(structure, other) || !better(cell(structure, other)[0], own[0]));
}

function drawChart(structures, arms) {
  const single = structures.filter((position) => !DATA.classes[position].mean);
  const hidden = single.filter((position) => DATA.classes[position].hidden);
  const wanted = hidden.length ? hidden : single;
  const means = structures.filter((position) => DATA.classes[position].mean);
  const shown = wanted.length <= MAX_BARS ? wanted : [...means.slice(0, 1), ...wanted.slice(0, MAX_BARS - 1)];
  const values = shown.flatMap((s) => arms.map((a) => cell(s, a)).filter((v) => v && v[0] !== null));
  if (!values.length) {
    replace("chart");
    replace("chart-note", "Nothing to draw: choose an arm.");
    return;
  }
  const top = Math.max(0, ...values.map((v) => Math.max(v[0], v[3] ?? v[0])));
  const bottom = Math.min(0, ...values.map((v) => Math.min(v[0], v[2] ?? v[0])));
  const [low, high] = ["dice", "nsd", "paper_dice"].includes(state.metric) ? [0, 1] : [bottom, top || 1];
  const [gap, left, height, above] = [26, 48, 230, 12];
  const bar = Math.min(54, Math.max(12, (900 / shown.length - gap) / arms.length));
  const width = left + shown.length * (arms.length * bar + gap) + 10;
  const y = (value) => above + height * (1 - (value - low) / (high - low));
  const picture = svg("svg", {
    width, height: height + above + 30, viewBox: `0 0 ${width} ${height + above + 30}`, role: "img", "aria-label": `${metric().title} per structure and arm`,
  }, patterns());
  for (let step = 0; step <= 5; step += 1) {
    const value = low + ((high - low) * step) / 5;
    picture.append(
      svg("line", { class: "grid", x1: left, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { class: "soft", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, ticks(value, high - low)),
    );
  }
  shown.forEach((structure, place) => {
    const start = left + gap / 2 + place * (arms.length * bar + gap);
    arms.forEach((arm, order) => {
      const values = cell(structure, arm);
      if (values && values[0] !== null) picture.append(barOf(values, arm, structure, start + order * bar, bar, y));
    });
    picture.append(svg("text", {
      x: start + (arms.length * bar) / 2, y: height + above + 18, "text-anchor": "middle",
    }, DATA.classes[structure].abbreviation));
  });
  replace("chart", picture);
  const which = hidden.length ? "hidden structures" : "structures";
  const more = wanted.length > MAX_BARS ? " (their mean and the first)" : "";
  replace("chart-note", `${metric().title}, ${state.group} scans, ${which}${more}; whiskers: ${DATA.interval} over subjects.`);
}

function ticks(value, span) {
  return value.toFixed(span > 20 ? 0 : span > 2 ? 1 : 2);
}

function barOf(values, arm, structure, x, width, y) {
  const [mean, , low, high] = values;
  const { digits } = metric();
  const zero = y(0);
  const box = { x, width: width - 3, y: Math.min(y(mean), zero), height: Math.abs(zero - y(mean)) };
  const group = svg("g", {}, svg("rect", { ...box, fill: DATA.arms[arm].colour }));
  if (DATA.arms[arm].hatch) group.append(svg("rect", { ...box, fill: `url(#hatch-${DATA.arms[arm].hatch})` }));
  if (low !== null) {
    const middle = x + (width - 3) / 2;
    group.append(svg("line", { class: "whisker", x1: middle, x2: middle, y1: y(low), y2: y(high) }));
    for (const end of [low, high]) {
      group.append(svg("line", { class: "whisker", x1: middle - 3, x2: middle + 3, y1: y(end), y2: y(end) }));
    }
  }
  const text = `${DATA.arms[arm].name}, ${DATA.classes[structure].abbreviation}: ${meanAndStd(values, digits)}`;
  group.append(svg("title", {}, text));
  return group;
}

function patterns() {
  const shapes = ["M0 6L6 0", "M3 2.4V3.6", "M0 0L6 6M0 6L6 0", "M0 0L6 6", "M3 0V6M0 3H6", "M1 3H5", "M0 3H6"];
  return svg("defs", {}, ...shapes.map((shape, place) => svg(
    "pattern",
    { id: `hatch-${place + 1}`, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    svg("path", { d: shape, stroke: "#fff", "stroke-width": 1.4, fill: "none" }),
  )));
}

watchers.push(drawScores);
