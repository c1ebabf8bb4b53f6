// An app that returns to an older version gets the older documents, whatever it has replicated before, and finds its way again.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v3 } = world;
  await v1.write('bread', { title: 'Bake bread' });
  await v1.push();
  const device = world.device('3.0.0');
  const newest = await device.pull();
  assert.deepEqual(newest.fetched, ['todo-item-status:bread:v:1', 'todo-item:bread:v:3']);
  world.expects(todo('bread', { title: 'Bake bread' }));

  await device.updateTo('1.2.0');
  const older = await device.pull();
  assert.deepEqual(older.fetched, ['todo-item:bread:v:1', 'todo-item:bread:v:2']);
  await device.change('todo-item:bread:v:1', { title: 'Bake rolls' });
  await device.push();
  await v3.pull();
  await v3.shows('todo-item:bread:v:3', { title: 'Bake rolls' });
  world.expects(todo('bread', { title: 'Bake rolls' }));

  // Every filter has a checkpoint of its own, and each goes on from its own.
  await device.updateTo('3.0.0');
  assert.equal((await device.pull()).since, String(newest.until));
  await device.shows('todo-item:bread:v:3', { title: 'Bake rolls' });
  await device.updateTo('1.2.0');
  assert.equal((await device.pull()).since, String(older.until));
  await device.shows('todo-item:bread:v:2', { title: 'Bake rolls' });
});
