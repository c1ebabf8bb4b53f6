// Edits that meet in some versions only: a status against `isDone`, a status against a title, an edit against a deletion.
import assert from 'node:assert/strict';
import { branchesOf, story, todo, until } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const statusOf = (key) => `todo-item-status:${key}:v:1`;
  // One todo for each version to resolve its conflict.
  const resolvers = [v1, v2, v3];
  const [statuses, titles, cancelled, kept] = ['status', 'title', 'cancelled', 'kept'].map((what) =>
    resolvers.map((resolver) => ({ key: `${what} ${resolver.name}`, resolver })),
  );
  const everybodySees = (todos, seen) => world.everybodyHolds(Object.assign({}, ...todos.map(seen)));
  const bread = { title: 'Bake bread', group: 'kitchen' };

  world.online();
  const all = [statuses, titles, cancelled, kept].flat();
  for (const { key } of all) await v3.write(key, bread);
  await everybodySees(all, ({ key }) => todo(key, bread));

  await world.offline();
  for (const { key } of statuses) {
    await v1.change(v1.item(key), { isDone: true });
    await v3.change(statusOf(key), { status: 'blocked' });
  }
  for (const { key } of titles) {
    await v1.change(v1.item(key), { title: 'Bake rye bread' });
    await v2.change(statusOf(key), { status: 'done' });
  }
  for (const { key } of cancelled) {
    await v1.remove(key);
    await v3.change(v3.item(key), { title: 'Bake white bread' });
  }
  for (const { key } of kept) {
    await v1.change(v1.item(key), { title: 'Bake cake' });
    await v3.remove(key);
  }
  world.online();

  // Which status wins is for CouchDB to say. Version 1 shows what the winners of the others make; what its other branch has for
  // a title depends on which edit came first.
  await until('there are two of each status', async () => {
    const held = await world.held();
    for (const each of [...statuses, ...titles]) {
      each.statuses = [held[statusOf(each.key)]].flat().map(({ status }) => status);
      each.titles = [held[v1.item(each.key)]].flat().map(({ title }) => title);
      assert.deepEqual([each.statuses.length, each.titles.length], [2, 2], each.key);
      assert.ok(['Bake bread', each.titles[0]].includes(each.titles[1]), each.titles[1]);
    }
  });
  const inConflict = ({ key, statuses: [winner, loser], titles: [, title] }, shown, status) => ({
    ...todo(key, { ...shown, status: winner }),
    [statusOf(key)]: [todo(key, { status: winner }), todo(key, { status: loser })].map((documents) => documents[statusOf(key)]),
    [v1.item(key)]: [todo(key, { ...shown, status: winner }), todo(key, { title, status })].map((documents) => documents[v1.item(key)]),
  });
  const rye = { ...bread, title: 'Bake rye bread' };
  await world.everybodyHolds(
    Object.assign(
      {},
      ...statuses.map((each) => inConflict(each, bread, 'blocked')),
      ...titles.map((each) => inConflict(each, rye, 'done')),
      // Who edits wins over who deletes; version 1 has deleted the status with the todo, the others have not.
      ...cancelled.map(({ key }) => ({ ...todo(key, { ...bread, title: 'Bake white bread' }), [statusOf(key)]: null })),
      ...kept.map(({ key }) => todo(key, { ...bread, title: 'Bake cake' })),
    ),
  );

  // Whoever has the conflict resolves it, in the document where it shows.
  for (const { key, resolver } of [...statuses, ...titles]) {
    const id = resolver === v1 ? v1.item(key) : statusOf(key);
    const [winner, loser] = await branchesOf(resolver.db, id);
    await resolver.db.remove(loser);
    await resolver.db.put({ ...winner, ...(resolver === v1 ? { isDone: true } : { status: 'done' }) });
  }
  await everybodySees([...statuses, ...titles], (each) => todo(each.key, { ...(titles.includes(each) ? rye : bread), status: 'done' }));
  // The status is made again by whoever has one to tell.
  for (const { key, resolver } of cancelled) {
    if (resolver === v1) await v1.change(v1.item(key), { isDone: true });
    else await resolver.put(statusOf(key), { schema: 'todo-item-status', version: 1, status: 'done' });
  }
  await everybodySees(cancelled, ({ key }) => todo(key, { ...bread, title: 'Bake white bread', status: 'done' }));
});
