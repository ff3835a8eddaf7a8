// Tellings come twice a second; each is drawn whole.

const leaderOf = nodes => Object.values(nodes).filter(n => n.figures && n.figures.role === "leader")
  .sort((a, b) => b.figures.term - a.figures.term)[0];

function summary(nodes, leader) {
  const all = Object.values(nodes), up = all.filter(n => n.figures).length;
  if (!all.length) return "the node does not say who the members are yet";
  const leads = leader ? `${leader.name} leads in term ${leader.figures.term}` : "no leader";
  return `${up} of ${all.length} members answer; ${leads}`;
}

function draw() {
  if (!state.now) return;
  const {nodes, traces} = state.now, leader = leaderOf(nodes);
  if (!state.byHand || !nodes[state.chosen]) {
    const lead = Object.keys(nodes).find(id => nodes[id] === leader);
    state.chosen = lead || state.chosen || Object.keys(nodes)[0];
  }
  say($("state"), summary(nodes, leader));
  drawMembers(nodes, leader);
  drawInside(nodes[state.chosen]);
  drawWrites(traces);
  drawElections(nodes);
  drawLab(state.now.lab);
}

function listen() {
  const source = new EventSource("live");
  source.onmessage = event => { state.now = JSON.parse(event.data); draw(); };
  source.onerror = () => {
    say($("state"), "the node's page does not answer; trying again …");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

makeLab();
makePicture();
flow();
listen();
