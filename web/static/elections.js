// Elections as the members tell them, and which members came and went as this page saw it.

const SHOWN = 30;
const seen = {};  // member -> whether it answered
const noticed = [];  // [time, text], what this page saw itself
let drawn = "";

function notice(nodes) {
  for (const id in nodes) {
    const there = Boolean(nodes[id].figures);
    if (seen[id] !== undefined && seen[id] !== there)
      noticed.push([Date.now(), `${nodes[id].name} ${there ? "answers again" : "does not answer"}`]);
    seen[id] = there;
  }
  for (const id in seen) if (!nodes[id]) {
    noticed.push([Date.now(), `member ${id} is no member any more`]);
    delete seen[id];
  }
  noticed.splice(0, noticed.length - SHOWN);
}

function drawElections(nodes) {
  notice(nodes);
  const found = [...noticed];
  for (const {name, figures} of Object.values(nodes))
    for (const [ago, term, leader, role, why] of figures && figures.elections || [])
      found.push([Date.now() - 1000 * ago, role === "follower" && leader
        ? `${name} follows ${nameOf(hex(leader))} in term ${term}: ${why}`
        : `${name} is ${role} in term ${term}: ${why}`]);
  found.sort((a, b) => b[0] - a[0]);
  const last = found.slice(0, SHOWN), key = last.map(each => each[1]).join("\n");
  if (key === drawn) return;
  drawn = key;
  $("events").replaceChildren(...last.map(([at, text]) =>
    el("li", `${new Date(at).toLocaleTimeString("en-GB")}  ${text}`)));
}
