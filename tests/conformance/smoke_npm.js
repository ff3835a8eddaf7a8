// npm's etcd3 against one endpoint, HOST:PORT as the argument: a line for what went well.
const assert = require('assert');
const { Etcd3 } = require('etcd3');

async function main(endpoint) {
  const client = new Etcd3({ hosts: `http://${endpoint}` });
  await client.delete().prefix('npm/');
  await client.put('npm/a').value('1');
  assert.strictEqual(await client.get('npm/a').string(), '1');
  assert.deepStrictEqual(await client.getAll().prefix('npm/').strings(), { 'npm/a': '1' });
  const done = await client.if('npm/a', 'Value', '==', '1').then(client.put('npm/a').value('2')).commit();
  assert.strictEqual(done.succeeded, true);
  console.log('kv');
  const lease = client.lease(60);
  await lease.put('npm/leased').value('x');
  await lease.revoke();
  assert.strictEqual(await client.get('npm/leased').string(), null);
  console.log('lease');
  const watcher = await client.watch().key('npm/watched').create();
  const seen = new Promise((resolve) => watcher.once('put', resolve));
  await client.put('npm/watched').value('3');
  assert.strictEqual((await seen).value.toString(), '3');
  await watcher.cancel();
  console.log('watch');
  await client.lock('npm/lock').do(() => assert.ok(true));
  console.log('lock');
  const election = client.election('npm/election');
  const campaign = election.campaign('me');
  await new Promise((resolve) => campaign.once('elected', resolve));
  assert.strictEqual(await election.leader(), 'me');
  await campaign.resign();
  console.log('election');
  assert.ok((await client.maintenance.status()).version);
  assert.ok((await client.cluster.memberList({})).members.length);
  console.log('cluster');
  client.close();
}

main(process.argv[2]).catch((error) => { console.error(error); process.exit(1); });
