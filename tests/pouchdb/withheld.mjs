// A version that is sent nothing newer, then one that is: the update gets everything. Version 2 withholds here.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  v2.sees = (id) => !/^todo-item:.+:v:[13]$/s.test(id);
  for (const key of ['bread', 'tea']) {
    await v1.write(key, { title: `Make ${key}` });
    world.expects(todo(key, { title: `Make ${key}` }));
  }
  await v1.push();
  const withheld = await v2.pull();
  const statuses = ['todo-item-status:bread:v:1', 'todo-item-status:tea:v:1'];
  assert.deepEqual(withheld.fetched, [...statuses, 'todo-item:bread:v:2', 'todo-item:tea:v:2']);

  await v2.updateTo('3.0.0');
  delete v2.sees;
  const updated = await v2.pull();
  assert.equal(updated.since, '0');
  assert.deepEqual(updated.fetched, ['todo-item:bread:v:3', 'todo-item:tea:v:3']);
  await v2.change('todo-item:tea:v:3', { group: 'drinks' });
  await v2.push();
  world.expects(todo('tea', { title: 'Make tea', group: 'drinks' }));
  await v3.pull();
});
