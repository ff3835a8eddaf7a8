// The lab of `sampan up --lab`: buttons that break the cluster, and lessons that say what to look for.

const TOKEN = document.querySelector("meta[name=lab]").content;
const lab = {rows: {}, lesson: null};

async function order(what) {
  const answer = await fetch("lab", {method: "POST", body: JSON.stringify(what),
    headers: {"content-type": "application/json", "x-sampan-lab": TOKEN}});
  const told = await answer.json();
  say($("ordered"), answer.ok ? `done: ${Object.values(what).filter(known).join(" ")}` : told.error);
  return answer.ok && told;
}

const byRole = (role, nth = 0) => Object.values(state.now.nodes)
  .filter(n => n.figures && n.figures.role === role).map(n => n.name)[nth];
const names = () => Object.values(state.now.nodes).map(n => n.name);

async function isolate(name, what) {
  for (const other of names().filter(each => each !== name)) {
    await order({do: what, node: name, to: other});
    await order({do: what, node: other, to: name});
  }
}

async function putAndShow(times) {
  const told = await order({do: "put", times});
  if (told) await showWay(told.revision);
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// Whether the leader's log begins behind what the member that is away has.
function isPast(name) {
  const leader = leaderOf(state.now.nodes), f = leader && leader.figures;
  const fed = f && (f.progress || []).find(p => nameOf(hex(p[0])) === name);
  return Boolean(fed) && f.log_first > fed[1] + 1;
}

async function writePast() {
  await order({do: "load", clients: 16, bytes: 4096});
  for (let i = 0; i < 240 && !isPast(away); i++) await pause(500);
  await order({do: "load", clients: 0, bytes: 1});
}

let away = "";  // the member that a lesson has cut off or stopped
const LESSONS = [
  {
    title: "An election",
    look: "Kill the leader's processes. The others' connections to it break (brokenc), so they ask "
      + "each other for votes at once: PreVote first, in the old term, then a new term. Read why in "
      + "“Elections and restarts”. The killed node starts again from its disk, hears the new leader "
      + "(recvc), and is fed: probe, then replicate.",
    steps: [["kill the leader", () => order({do: "kill", node: byRole("leader")})]],
  },
  {
    title: "A lone put",
    look: "Follow one write through its picture: clientc, propc, propose; then readyc to the leader's "
      + "own log and, at the same time, sendc to the followers. One of them acknowledges (recvc), "
      + "the entry is committed, applyc, and the result goes back on resultc. The disks take most of "
      + "the time, and they work side by side.",
    steps: [["put one key", () => putAndShow(1)]],
  },
  {
    title: "A batch",
    look: "Five hundred puts at once become a few entries: clientc counts far more messages than "
      + "propc, and “writes an entry” grows. One fsync serves all that waits meanwhile, so “entries "
      + "a fsync” may exceed one. The way of the whole batch looks as that of a lone put.",
    steps: [["put 500 keys at once", () => putAndShow(500)]],
  },
  {
    title: "A partition and its heal",
    look: "Cut the leader off, both ways. It hears no majority and steps down (CheckQuorum), the "
      + "others elect another in a new term. What it had proposed alone is not committed: its bar "
      + "stays behind. Heal: it hears of the later term, follows, and gets what it lacks (recvc, "
      + "readyc).",
    steps: [
      ["cut the leader off", () => isolate(away = byRole("leader"), "cut")],
      ["put one key meanwhile", () => order({do: "put", times: 1})],
      ["heal", () => isolate(away || names()[0], "heal")],
    ],
  },
  {
    title: "A slow follower and its snapshot",
    look: "Stop a follower and write on. The leader's log is short here, so it forgets the oldest "
      + "entries (its bar moves on), and what the follower lacks is gone. Let it go on: it is "
      + "probed, sent a snapshot (snapshotc, snapsendc), and then replicates again.",
    steps: [
      ["stop a follower", () => order({do: "stop", node: away = byRole("follower")})],
      ["write until the log has passed it", writePast],
      ["let it go on", () => order({do: "continue", node: away || names()[0]})],
    ],
  },
  {
    title: "PreVote against a disturber",
    look: "Cut a follower off. It hears no leader and asks for votes, again and again, but only "
      + "whether it would be elected (PreVote): its term stays. Heal: without PreVote it would come "
      + "back with a higher term and depose the leader; with it, it just follows. No election.",
    steps: [
      ["cut a follower off", () => isolate(away = byRole("follower"), "cut")],
      ["heal", () => isolate(away || names()[0], "heal")],
    ],
  },
];

function button(text, act) {
  const b = el("button", text);
  b.type = "button";
  b.onclick = act;
  return b;
}

function showLesson(number) {
  const {title, look, steps} = LESSONS[number], box = $("lesson");
  box.replaceChildren(el("h3", title), el("p", look));
  const list = box.appendChild(el("ol"));
  for (const [text, act] of steps) list.appendChild(el("li")).append(button(text, act));
  [...$("lessons").children].forEach((b, i) => set(b, "aria-pressed", i === number));
}

function choice(title, options, act) {
  const select = el("select");
  select.setAttribute("aria-label", title);
  for (const [value, text] of options) select.append(Object.assign(el("option", text), {value}));
  select.onchange = () => act(select.value);
  return select;
}

function makeRow(name) {
  const tr = $("nodes").appendChild(el("tr")), head = tr.appendChild(el("th", name));
  head.scope = "row";
  const process = choice(`process of ${name}`, [["", "all processes"]], () => {});
  const cell = tr.appendChild(el("td"));
  cell.append(process);
  for (const what of ["kill", "stop", "continue"])
    cell.append(" ", button(what, () => order({do: what, node: name, process: process.value})));
  const slow = choice(`fsyncs of ${name}`, [0, 20, 100, 500, 2000].map(ms =>
    [ms, ms ? `fsyncs take ${ms} ms longer` : "fsyncs as fast as the disk"]),
  ms => order({do: "slow", node: name, ms: Number(ms)}));
  tr.appendChild(el("td")).append(slow);
  const links = tr.appendChild(el("td")), boxes = {};
  for (const other of names().filter(each => each !== name)) {
    const label = links.appendChild(el("label")), box = label.appendChild(el("input"));
    box.type = "checkbox";
    box.onchange = () => order({do: box.checked ? "heal" : "cut", node: name, to: other});
    label.append(` to ${other} `);
    boxes[other] = box;
  }
  return {tr, process, slow, boxes, state: tr.appendChild(el("td"))};
}

function drawRow(name, told) {
  const row = lab.rows[name] = lab.rows[name] || makeRow(name);
  const running = ["", ...told.processes[name] || []];
  if (running.join() !== [...row.process.options].map(o => o.value).join()) {
    row.process.replaceChildren(...running.map(value =>
      Object.assign(el("option", value || "all processes"), {value})));
  }
  if (document.activeElement !== row.slow) row.slow.value = told.slow_ms[name] || 0;
  for (const other in row.boxes)
    row.boxes[other].checked = !told.cut.some(([a, b]) => a === name && b === other);
  const stopped = told.stopped.filter(each => each[0] === name).map(each => each[1] || "all");
  say(row.state, stopped.length ? `stopped: ${stopped.join(", ")}` : "");
}

function drawLab(told) {
  if (!TOKEN || !told.processes) return;
  for (const name in told.processes) drawRow(name, told);
  say($("load"), told.clients ? `${told.clients} clients put` : "no load");
}

function makeLab() {
  if (!TOKEN) return;
  $("lab").hidden = false;
  LESSONS.forEach(({title}, i) =>
    $("lessons").append(button(`${i + 1}. ${title}`, () => showLesson(i))));
  showLesson(0);
  const loads = [0, 1, 16, 64, 256].map(n => [n, n ? `${n} clients put` : "no load"]);
  const bar = $("whole");
  bar.append(choice("load", loads, n => order({do: "load", clients: Number(n), bytes: 100})), " ",
    button("mend everything", () => order({do: "mend"})));
}
