"use strict";
// What everything here uses: elements, numbers, time.

const $ = id => document.getElementById(id);

function el(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

function svg(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  return e;
}

// Only what has changed is touched: a browser lays out what it is told twice, too.
function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

function set(e, key, value) {
  if (e.getAttribute(key) !== String(value)) e.setAttribute(key, value);
}

const known = x => x !== null && x !== undefined;

function number(x) {
  if (!known(x)) return "–";
  if (x >= 1e7) return (x / 1e6).toFixed(1) + " M";
  if (x >= 1e5) return (x / 1e3).toFixed(0) + " k";
  return x >= 100 || Number.isInteger(x) ? Math.round(x).toLocaleString("en") : x.toFixed(1);
}

function seconds(s) {
  if (!known(s)) return "–";
  if (s >= 1) return s.toFixed(2) + " s";
  return (s * 1000).toFixed(s < 0.01 ? 2 : 0) + " ms";
}

function bytes(b) {
  if (!known(b)) return "–";
  if (b >= 1 << 30) return (b / (1 << 30)).toFixed(1) + " GiB";
  return b >= 1 << 20 ? (b / (1 << 20)).toFixed(1) + " MiB" : number(b / 1024) + " KiB";
}

const percent = x => known(x) ? (100 * x).toFixed(x < 0.1 ? 1 : 0) + " %" : "–";

const nameOf = id => state.now && state.now.nodes[id] ? state.now.nodes[id].name : id;
const hex = id => BigInt(id).toString(16);

// What was told last, and which member is looked into.
const state = {now: null, chosen: null, byHand: false};
