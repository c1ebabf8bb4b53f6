// An update that sees the same goes on from where it was, whether it has a manifest of its own, as 2.0.1 here, or not.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v2, v3 } = world;
  for (const key of ['bread', 'tea']) await v3.write(key, { title: `Make ${key}` });
  await v3.push();
  const before = await v2.pull();
  await v2.updateTo('2.0.1');
  const idle = await v2.pull();
  assert.deepEqual([idle.since, idle.fetched], [String(before.until), []]);

  await v3.write('milk', { title: 'Buy milk' });
  await v3.push();
  await v2.updateTo('2.7.0');
  const after = await v2.pull();
  assert.equal(after.since, String(idle.until));
  assert.deepEqual(after.fetched, ['todo-item-status:milk:v:1', 'todo-item:milk:v:2', 'todo-item:milk:v:3']);
  for (const key of ['bread', 'tea']) world.expects(todo(key, { title: `Make ${key}` }));
  world.expects(todo('milk', { title: 'Buy milk' }));

  // So does what it pushes.
  await v2.write('oil', { title: 'Buy oil' });
  await v2.push();
  world.expects(todo('oil', { title: 'Buy oil' }));
  await v2.updateTo('2.0.0');
  v2.asked.length = 0;
  await v2.push();
  assert.deepEqual(v2.asked.filter(({ url }) => url.pathname.endsWith('/_revs_diff')), []);
});
