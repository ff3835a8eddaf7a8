// The picture of one member: actors as boxes, channels as arrows, by the names of channels.py.

const BOX = {node: [50, 130], raft_core: [310, 130], wal_writer: [590, 20], transport: [590, 240],
  applier: [310, 270]};
const WIDTH = 140, HEIGHT = 74;
const ARROWS = [  // channel, consumer, path, where its name stands
  ["clientc", "node", "M-60 167 H50", -60, 158],
  ["propc", "raft_core", "M190 152 H310", 200, 144],
  ["readindexc", "raft_core", "M190 172 H310", 200, 187],
  ["readyc", "wal_writer", "M450 145 C500 130 530 60 590 50", 440, 84],
  ["advancec", "raft_core", "M590 80 C550 100 520 155 450 165", 540, 132],
  ["sendc", "transport", "M450 185 C500 195 520 250 590 260", 540, 224],
  ["recvc", "raft_core", "M590 295 C520 280 490 220 430 204", 456, 274],
  ["peerc", "transport", "M800 280 H730", 735, 272],
  ["applyc", "applier", "M360 204 V270", 366, 242],
  ["readc", "applier", "M90 204 C100 300 200 325 310 325", 66, 285],
  ["resultc", "node", "M310 300 C230 300 160 270 140 204", 215, 278],
];
const picture = {boxes: {}, arrows: []};

function makePicture() {
  const top = svg("svg", {viewBox: "-70 0 930 360", role: "img", "aria-labelledby": "flowtitle"});
  top.append(svg("title", {id: "flowtitle"}, "Actors and channels; the table below says the same"));
  const head = svg("marker", {id: "head", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 9,
    markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto"});
  head.append(svg("path", {d: "M0 0 L8 4 L0 8 z", class: "head"}));
  top.appendChild(svg("defs", {})).append(head);
  for (const [channel, to, d, x, y] of ARROWS) {
    const path = top.appendChild(svg("path", {d, class: "arrow", "marker-end": "url(#head)"}));
    const text = top.appendChild(svg("text", {x, y, class: "small"}, channel));
    picture.arrows.push({key: `${channel}>${to}`, channel, path, text, rate: 0});
  }
  for (const name in BOX) {
    const [x, y] = BOX[name];
    top.append(svg("rect", {x, y, width: WIDTH, height: HEIGHT, rx: 8, class: "box"}));
    const busy = top.appendChild(svg("rect", {x: x + 1, y, width: WIDTH - 2, height: 0, rx: 7,
      class: "busy"}));
    top.append(svg("text", {x: x + 10, y: y + 22}, name));
    const lines = [40, 58].map(dy => top.appendChild(
      svg("text", {x: x + 10, y: y + dy, class: "small"}, "")));
    picture.boxes[name] = {busy, y, lines};
  }
  top.append(svg("text", {x: 805, y: 284, class: "small"}, "members"));
  top.append(svg("text", {x: -60, y: 184, class: "small"}, "clients"));
  $("flow").append(top);
}

const CARDS = [
  ["requests a second", f => number(f.requests_s)],
  ["writes a second", f => number(f.writes_s)],
  ["a write, half within", f => seconds(f.write.half)],
  ["a write, 99 % within", f => seconds(f.write.most)],
  ["fsync, half within", f => seconds(f.fsync.half)],
  ["fsyncs a second", f => number(f.fsyncs_s)],
  ["writes an entry", f => number(f.writes_an_entry)],
  ["entries a fsync", f => number(f.entries_a_fsync)],
  ["waiting writes", f => number(f.pending_writes)],
  ["waiting reads", f => number(f.pending_reads)],
];

function drawCards(f) {
  const box = $("cards");
  if (!box.children.length)
    for (const [title] of CARDS) box.appendChild(el("div")).append(el("b"), el("span", title));
  CARDS.forEach(([, value], i) => say(box.children[i].firstChild, f ? value(f) : "–"));
}

function drawPicture(f) {
  for (const arrow of picture.arrows) {
    arrow.rate = f && f.channels[arrow.key] || 0;
    say(arrow.text, arrow.rate ? `${arrow.channel} ${number(arrow.rate)}` : arrow.channel);
    arrow.path.classList.toggle("on", arrow.rate > 0);
  }
  for (const name in BOX) {
    const box = picture.boxes[name], a = f && f.actors[name];
    const share = Math.max(0, Math.min(1, a && a.busy || 0));
    set(box.busy, "height", Math.round(HEIGHT * share));
    set(box.busy, "y", box.y + HEIGHT - Math.round(HEIGHT * share));
    say(box.lines[0], a ? `${percent(a.busy)} busy` : "");
    say(box.lines[1], a ? `${number(a.batch)} a turn, queue ${number(a.queue)}` : "");
  }
}

function drawActors(f) {
  const rows = Object.entries(f ? f.actors : {}), body = $("actors");
  while (body.children.length > rows.length) body.lastChild.remove();
  const shared = new Set(rows.map(([, a]) => a.process)).size < rows.length;
  rows.forEach(([name, a], i) => {
    const tr = body.children[i] || body.appendChild(el("tr"));
    const cells = [name, percent(a.busy), percent(a.cpu) + (shared ? " in all" : ""),
      number(a.turns), number(a.batch), number(a.queue), seconds(a.longest_s)];
    cells.forEach((cell, j) => say(tr.children[j] || tr.appendChild(el(j ? "td" : "th")), cell));
    set(tr.firstChild, "scope", "row");
  });
}

function drawInside(node) {
  const f = node ? node.figures : null;
  say($("who"), node ? node.name : "–");
  drawCards(f);
  drawPicture(f);
  drawActors(f);
}

// Dashes move along the arrows, faster where more passes; not for who wants no motion.
const still = matchMedia("(prefers-reduced-motion: reduce)");
let shift = 0;
function flow() {
  if (!still.matches && !document.hidden) {
    shift -= 1;
    for (const a of picture.arrows)
      if (a.rate) a.path.style.strokeDashoffset = shift * Math.min(3, 0.3 + Math.log10(1 + a.rate) / 2);
  }
  requestAnimationFrame(flow);
}
