// Clients that may write nothing, not even a checkpoint, come and go in all versions and miss nothing.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1 } = world;
  await v1.write('bread', { title: 'Bake bread' });
  await v1.push();
  world.expects(todo('bread', { title: 'Bake bread' }));
  const all = ['todo-item-status:bread:v:1', 'todo-item:bread:v:1', 'todo-item:bread:v:2', 'todo-item:bread:v:3'];
  const written = (app) => app.asked.filter(({ method }) => method === 'PUT').length;

  // The checkpoint is kept on the device alone: because the other one is refused, or because it is asked to.
  for (const [options, attempts] of [[{}, 1], [{ checkpoint: 'target' }, 0]]) {
    const reader = world.reader('3.0.0');
    const newest = await reader.pull(options);
    assert.equal(written(reader), attempts, 'whoever may not write a checkpoint leaves it at that');
    assert.deepEqual(newest.fetched, [all[0], all[3]]);
    const idle = await reader.pull(options);
    assert.deepEqual([idle.since, idle.fetched], [String(newest.until), []]);

    await reader.updateTo('1.2.0');
    const older = await reader.pull(options);
    assert.equal(older.since, '0');
    assert.deepEqual(older.fetched, [all[1], all[2]]);
    await reader.updateTo('2.0.0');
    assert.deepEqual((await reader.pull(options)).fetched, []);
    await reader.updateTo('3.0.0');
    assert.equal((await reader.pull(options)).since, String(idle.until));
    await reader.db.destroy();
  }

  // No checkpoint at all: the feed is read from its start, and only what is missing is fetched.
  const reader = world.reader('3.0.0');
  const options = { checkpoint: false };
  assert.deepEqual((await reader.pull(options)).fetched, [all[0], all[3]]);
  await reader.updateTo('1.2.0');
  const older = await reader.pull(options);
  assert.deepEqual([older.since, older.fetched], ['0', [all[1], all[2]]]);
  const idle = await reader.pull(options);
  assert.deepEqual([idle.since, idle.fetched, written(reader)], ['0', [], 0]);
});
