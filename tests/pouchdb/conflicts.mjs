// Offline edits are one conflict with the same winner in all versions, and whoever resolves it resolves it in all.
import assert from 'node:assert/strict';
import { branchesOf, story, todo, until } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const another = world.device('1.2.0');
  const rivalries = [[v1, v2], [v1, v3], [v2, v3], [v1, another], [v1, v2, v3]];
  const resolvers = [v1, v2, v3];

  // One todo for every rivalry, whoever resolves it, and each way to do so.
  const todos = rivalries.flatMap((rivals) =>
    resolvers.flatMap((resolver) =>
      [keepWinner, keepLoser, merge].map((resolve) => ({
        key: `${rivals.map(({ name }) => name)} ${resolver.name} ${resolve.name}`,
        rivals,
        resolver,
        resolve,
      })),
    ),
  );
  const everybodyHolds = (holds) => world.everybodyHolds(Object.assign({}, ...todos.map(holds)));

  world.online();
  for (const [n, { key }] of todos.entries()) await [v1, v2, v3][n % 3].write(key, { title: 'Bake bread' });
  await everybodyHolds(({ key }) => todo(key, { title: 'Bake bread' }));

  await world.offline();
  for (const [n, { key, rivals }] of todos.entries()) {
    for (const rival of rivals) await rival.change(rival.item(key), { title: `of ${rival.name}` });
    // The longer branch wins.
    if (n % 2) await rivals[0].change(rivals[0].item(key), { isImportant: true });
  }
  world.online();

  // Which branch wins is for CouchDB to say; it is the same one in every version.
  await until('every edit is in the newest version', async () => {
    const held = await world.held();
    for (const each of todos) {
      each.branches = [held[v3.item(each.key)]].flat().map(({ title, isImportant }) => ({ title, ...(isImportant && { isImportant }) }));
      assert.equal(each.branches.length, each.rivals.length, each.key);
      assert.deepEqual(
        each.branches.map(({ title }) => title).sort(),
        each.rivals.map(({ name }) => `of ${name}`).sort(),
      );
    }
  });
  await everybodyHolds(({ key, rivals, branches }) => {
    const versions = branches.map((branch) => todo(key, branch));
    const conflict = Object.fromEntries(Object.keys(versions[0]).map((id) => [id, versions.map((version) => version[id])]));
    // Only those of version 1 have a say in the status, and they agree.
    const statuses = conflict[`todo-item-status:${key}:v:1`];
    const said = rivals.filter(({ version }) => version === '1.2.0').length;
    return { ...conflict, [`todo-item-status:${key}:v:1`]: said > 1 ? statuses : statuses[0] };
  });

  await Promise.all(todos.map(async ({ key, resolver, resolve }) => resolve(resolver, resolver.item(key))));
  await everybodyHolds(({ key, resolve, branches }) => {
    const [winner, ...losers] = branches;
    if (resolve === keepWinner) return todo(key, winner);
    if (resolve === keepLoser) return todo(key, losers[0]);
    return todo(key, { ...winner, title: branches.map(({ title }) => title).join(' and ') });
  });

  // And is what everybody goes on with.
  await Promise.all(todos.map(({ key, rivals }) => rivals[0].change(rivals[0].item(key), { title: 'Bake cake' })));
  await everybodyHolds(({ key, resolve, branches }) => {
    const { isImportant } = branches[resolve === keepLoser ? 1 : 0];
    return todo(key, { title: 'Bake cake', ...(isImportant && { isImportant }) });
  });
});

async function keepWinner({ db }, id) {
  const [, ...losers] = await branchesOf(db, id);
  for (const { _rev } of losers) await db.remove(id, _rev);
}

async function keepLoser({ db }, id) {
  const [winner, , ...others] = await branchesOf(db, id);
  for (const { _rev } of [winner, ...others]) await db.remove(id, _rev);
}

async function merge({ db }, id) {
  const [winner, ...losers] = await branchesOf(db, id);
  for (const { _rev } of losers) await db.remove(id, _rev);
  await db.put({ ...winner, title: [winner, ...losers].map(({ title }) => title).join(' and ') });
}
