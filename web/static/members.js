// The members: who leads, how far each one is, and how the leader feeds it.

const SIGNS = {leader: "●", follower: "○", learner: "◌", candidate: "◐", away: "✕"};
const ROWS = ["term", "committed", "applied", "fed by the leader", "match, next", "revision", "log",
  "on disk"];
const cards = {};

function makeMember(id) {
  const card = $("members").appendChild(el("article", undefined, "member"));
  const button = card.appendChild(el("button"));
  button.type = "button";
  button.onclick = () => { state.chosen = id; state.byHand = true; draw(); };
  const name = button.appendChild(el("span")), role = button.appendChild(el("span"));
  const list = card.appendChild(el("dl"));
  const values = ROWS.map(row => { list.append(el("dt", row)); return list.appendChild(el("dd")); });
  const log = card.appendChild(svg("svg", {class: "log", viewBox: "0 0 1000 14",
    preserveAspectRatio: "none", "aria-hidden": "true"}));
  const held = log.appendChild(svg("rect", {class: "held", y: 0, height: 14}));
  const applied = log.appendChild(svg("rect", {class: "applied", y: 0, height: 14}));
  const commit = log.appendChild(svg("rect", {class: "commit", y: 0, height: 14, width: 3}));
  return {card, button, name, role, values, held, applied, commit};
}

function scaleOfLogs(nodes) {
  const figures = nodes.map(n => n.figures).filter(f => f && known(f.log_first));
  const from = Math.min(...figures.map(f => f.log_first));
  const span = Math.max(1, Math.max(...figures.map(f => f.raft_index)) - from + 1);
  return index => Math.max(0, Math.min(1000, 1000 * (index - from) / span));
}

function drawLog(card, f, at) {
  const there = f && known(f.log_first);
  const [from, to] = there ? [at(f.log_first), at(f.raft_index + 1)] : [0, 0];
  set(card.held, "x", from);
  set(card.held, "width", Math.max(0, to - from));
  set(card.applied, "x", from);
  set(card.applied, "width", there ? Math.max(0, at(f.applied + 1) - from) : 0);
  set(card.commit, "x", there ? Math.max(0, at(f.commit + 1) - 3) : -9);
}

function drawMembers(nodes, leader) {
  const at = scaleOfLogs(Object.values(nodes));
  const progress = leader ? leader.figures.progress || [] : [];
  for (const id in nodes) {
    const card = cards[id] = cards[id] || makeMember(id);
    const node = nodes[id], f = node.figures;
    const role = !f ? "away" : f.is_learner ? "learner" : f.role;
    say(card.name, node.name);
    say(card.role, `${SIGNS[role]} ${role}`);
    set(card.role, "class", "role " + role);
    set(card.button, "aria-pressed", id === state.chosen);
    const fed = progress.find(p => hex(p[0]) === id);
    const how = !fed || role === "leader" ? "–" : fed[3] + (fed[4] ? "" : ", silent");
    const values = f ? [f.term, number(f.commit), number(f.applied), how,
      fed ? `${number(fed[1])}, ${number(fed[2])}` : "–", number(f.revision),
      `${number(f.log_entries)} entries, ${bytes(f.log_bytes)}`, bytes(f.db_size)] :
      ["–", "–", "–", how, fed ? `${number(fed[1])}, ${number(fed[2])}` : "–", node.away, "–", "–"];
    values.forEach((value, i) => say(card.values[i], String(value)));
    drawLog(card, f, at);
  }
  for (const id in cards) if (!nodes[id]) { cards[id].card.remove(); delete cards[id]; }
}
