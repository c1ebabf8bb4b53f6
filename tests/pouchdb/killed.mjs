// A proxy is killed between a write and its fan-out, and another one takes its place: the next write brings all in step, or `chesterfield backfill`.
//
// Whoever runs this kills the proxy when it carries the edits titled `deadly`.
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v3, couch } = world;
  const everybodyHolds = (...todos) => world.everybodyHolds(Object.assign({}, ...todos));
  // What the database holds when only one document of a todo was written.
  const only = (id, documents) => ({ [id]: documents[id] });
  world.online();
  const keys = ['edited', 'unseen', 'swept', 'rivals'];
  for (const key of keys) await v1.write(key, { title: 'Bake bread' });
  await everybodyHolds(...keys.map((key) => todo(key, { title: 'Bake bread' })));

  // The edit is there, and nothing but the edit; its author goes on.
  await v1.change(v1.item('edited'), { title: 'deadly' });
  await everybodyHolds(only(v1.item('edited'), todo('edited', { title: 'deadly' })));
  await v1.change(v1.item('edited'), { title: 'Bake rye bread', isDone: true });
  await everybodyHolds(todo('edited', { title: 'Bake rye bread', status: 'done' }));

  // A todo that is new; its status comes next.
  const made = todo('made', { title: 'deadly', group: 'kitchen' });
  await v3.put(v3.item('made'), made[v3.item('made')]);
  await everybodyHolds(only(v3.item('made'), made));
  await v3.write('made', { title: 'Make tea', group: 'kitchen', status: 'blocked' });
  await everybodyHolds(todo('made', { title: 'Make tea', group: 'kitchen', status: 'blocked' }));

  // A write that no proxy has seen, and then one to the same todo.
  await couch.put({ ...(await couch.get(v1.item('unseen'))), title: 'Bake rye bread' });
  await everybodyHolds(only(v1.item('unseen'), todo('unseen', { title: 'Bake rye bread' })));
  await v1.change(v1.item('unseen'), { isImportant: true });
  await everybodyHolds(todo('unseen', { title: 'Bake rye bread', isImportant: true }));

  // Nor need anybody write.
  await couch.put({ ...(await couch.get(v1.item('swept'))), isDone: true });
  await everybodyHolds(only(v1.item('swept'), todo('swept', { title: 'Bake bread', status: 'done' })));
  await world.backfill();
  await everybodyHolds(todo('swept', { title: 'Bake bread', status: 'done' }));

  // Whoever writes in another version could not know: both edits are there, in conflict, in all versions.
  await couch.put({ ...(await couch.get(v1.item('rivals'))), title: 'Bake rye bread' });
  await everybodyHolds(only(v1.item('rivals'), todo('rivals', { title: 'Bake rye bread' })));
  await v3.change(v3.item('rivals'), { title: 'Bake white bread' });
  await v3.change(v3.item('rivals'), { group: 'kitchen' });
  const [white, rye] = [
    todo('rivals', { title: 'Bake white bread', group: 'kitchen' }),
    todo('rivals', { title: 'Bake rye bread' }),
  ];
  const status = 'todo-item-status:rivals:v:1';
  const conflict = Object.keys(white).map((id) => ({ [id]: id === status ? white[id] : [white[id], rye[id]] }));
  await everybodyHolds(...conflict);
});
