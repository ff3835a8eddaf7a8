// Writes of the last minute: what they waited for, and the way of one of them.

let chosenWrite = null;

function drawParts(parts) {
  const body = $("parts").tBodies[0], most = Math.max(...parts.map(p => p[1]), 1e-9);
  while (body.children.length > parts.length) body.lastChild.remove();
  parts.forEach(([text, s], i) => {
    let tr = body.children[i];
    if (!tr) {
      tr = body.appendChild(el("tr"));
      tr.append(el("th"), el("td", "", "n"), el("td"));
      tr.firstChild.scope = "row";
      tr.lastChild.append(el("div", undefined, "bar"));
    }
    say(tr.children[0], text);
    say(tr.children[1], seconds(s));
    tr.lastChild.firstChild.style.width = `${100 * s / most}%`;
  });
}

const label = ([revision, member, took]) =>
  `${seconds(took)}, revision ${revision}, taken by ${nameOf(hex(member))}`;

// A list that is being used keeps its options: new ones come on top, old ones go.
function drawList(told) {
  const list = $("pick");
  if (!list.children.length) {
    for (const title of ["the last", "the slowest"]) {
      const group = list.appendChild(el("optgroup"));
      group.label = title;
    }
  }
  [told.last.slice(0, 60), told.slowest].forEach((writes, i) => {
    const group = list.children[i];
    const there = new Map([...group.children].map(o => [o.value, o]));
    let next = group.firstChild;
    for (const write of writes) {
      const value = String(write[0]);
      const option = there.get(value) || Object.assign(el("option"), {value});
      there.delete(value);
      say(option, label(write));
      if (option === next) next = next.nextSibling;
      else group.insertBefore(option, next);
    }
    for (const option of there.values()) option.remove();
  });
}

function makeChart() {
  const top = svg("svg", {viewBox: "0 0 600 130", preserveAspectRatio: "none",
    "aria-hidden": "true"});
  $("chart").append(top);
  return top;
}

// A minute from left to right, 0.1 ms to 10 s from bottom to top.
function drawChart(told) {
  const top = $("chart").firstChild || makeChart(), writes = told.last;
  while (top.children.length > writes.length) top.lastChild.remove();
  writes.forEach(([revision, , took, ago], i) => {
    const dot = top.children[i] || top.appendChild(svg("circle", {r: 4}));
    set(dot, "cx", (595 - 590 * Math.min(1, ago / 60)).toFixed(0));
    set(dot, "cy", (122 - 112 * Math.max(0, Math.min(1, (Math.log10(took) + 4) / 5))).toFixed(0));
    set(dot, "class", revision === chosenWrite ? "chosen" : "");
    dot.onclick = () => showWay(revision);
  });
}

function drawWrites(told) {
  drawParts(told.parts);
  drawList(told);
  drawChart(told);
}

function stepsTable(trace) {
  const table = el("table"), body = el("tbody"), head = el("tr");
  for (const [title, cls] of [["after", "n"], ["", "n"], ["member"], ["actor"], ["step"]]) {
    const th = head.appendChild(el(title ? "th" : "td", title, cls));
    if (title) th.scope = "col";
  }
  let before = 0;
  for (const s of trace.steps) {
    const tr = body.appendChild(el("tr")), from = s.peer ? ` ← ${nameOf(hex(s.peer))}` : "";
    tr.append(el("td", (1000 * s.at).toFixed(3) + " ms", "n"),
      el("td", "+" + (1000 * (s.at - before)).toFixed(3), "n"),
      el("td", nameOf(hex(s.member_id))), el("td", s.actor), el("td", s.name + from));
    before = s.at;
  }
  table.appendChild(el("thead")).append(head);
  table.append(body);
  return table;
}

async function showWay(revision) {
  const box = $("way");
  try {
    const answer = await fetch(`trace?revision=${revision}`), trace = await answer.json();
    if (!answer.ok) throw Error(trace.error);
    chosenWrite = trace.revision;
    const image = el("img"), frame = el("div", undefined, "wide");
    image.src = `picture?revision=${trace.revision}`;
    image.alt = `Revision ${trace.revision}, entry ${trace.entry} of term ${trace.term}: `
      + "its steps on a line for each actor. The table below says the same.";
    frame.append(image);
    frame.tabIndex = 0;
    set(frame, "role", "group");
    set(frame, "aria-label", "The way of the write");
    const more = el("details"), table = frame.cloneNode();
    set(table, "aria-label", "Steps of the write");
    table.append(stepsTable(trace));
    more.append(el("summary", "The same as a table"), table);
    box.replaceChildren(frame, more);
  } catch (error) {
    box.replaceChildren(el("p", String(error.message || error)));
  }
}

$("pick").onchange = () => showWay($("pick").value);
$("ask").onsubmit = event => {
  event.preventDefault();
  showWay($("revision").value.trim() || "0");
};
