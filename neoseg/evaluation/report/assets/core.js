"use strict";
// Everything that comes from data goes into the page as text or as an attribute value, never as
// markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const state = {
  arms: new Set(DATA.arms.map((_, number) => number)),
  metric: DATA.metrics[0].key,
  group: DATA.groups[DATA.groups.length - 1],
};
const watchers = [];

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  return filled(node, attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child !== null) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

function replace(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function range(low, high, digits) {
  return low === null || high === null ? "–" : `${number(low, digits)} to ${number(high, digits)}`;
}

function probability(p) {
  if (p === null) return "–";
  return p < 0.001 ? "< .001" : p.toFixed(3).replace(/^0/, "");
}

function metric() {
  return DATA.metrics.find((entry) => entry.key === state.metric);
}

function picked() {
  return DATA.arms.map((_, position) => position).filter((position) => state.arms.has(position));
}

function swatch(arm) {
  const key = el("span", { class: "key", "aria-hidden": "true" });
  key.style.backgroundColor = arm.colour;
  return key;
}

function changed() {
  for (const watcher of watchers) watcher();
}
