// An app that updates fetches what it misses and nothing else, and from then on goes on from where it was.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v3 } = world;
  const keys = Array.from({ length: 12 }, (_, n) => `todo ${n}`);
  for (const key of keys) await v1.write(key, { title: 'Bake bread' });
  await v1.push();
  for (const key of keys) world.expects(todo(key, { title: 'Bake bread' }));
  const first = await v1.pull();
  // What other versions have of these todos, which it holds from then on.
  assert.equal(first.since, '0');
  assert.equal(first.fetched.length, 3 * keys.length);

  // While it is away, another version goes on.
  await v3.pull();
  await v3.write('tea', { title: 'Make tea', group: 'drinks' });
  await v3.change(v3.item(keys[0]), { title: 'Bake rolls' });
  await v3.push();
  world.expects({ ...todo('tea', { title: 'Make tea', group: 'drinks' }), ...todo(keys[0], { title: 'Bake rolls' }) });

  await v1.updateTo('3.0.0');
  const updated = await v1.pull();
  assert.deepEqual(updated.fetched, ['todo-item-status:tea:v:1', 'todo-item:tea:v:3', `todo-item:${keys[0]}:v:3`].sort());
  await v1.shows('todo-item:tea:v:3', { title: 'Make tea', group: 'drinks' });

  await v3.write('milk', { title: 'Buy milk' });
  await v3.push();
  world.expects(todo('milk', { title: 'Buy milk' }));
  const next = await v1.pull();
  assert.equal(next.since, String(updated.until));
  assert.deepEqual(next.fetched, ['todo-item-status:milk:v:1', 'todo-item:milk:v:3']);
});
