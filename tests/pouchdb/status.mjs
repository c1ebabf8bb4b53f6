// What only newer versions know outlives the edits of an older one: a blocked todo, its group, a note on its status.
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const bread = 'todo-item:bread:v:';
  const status = 'todo-item-status:bread:v:1';
  let todoIs = {};
  const everybodySees = (fields) => world.everybodyHolds(todo('bread', (todoIs = { ...todoIs, ...fields })));
  world.online();

  await v1.write('bread', { title: 'Bake bread' });
  await everybodySees({ title: 'Bake bread', status: 'active', group: 'default' });

  // `isDone` is the status, both ways.
  await v1.change(bread + 1, { isDone: true });
  await everybodySees({ status: 'done' });
  await v1.change(bread + 1, { isDone: false });
  await everybodySees({ status: 'active' });
  await v2.change(status, { status: 'done' });
  await everybodySees({ status: 'done' });
  await v3.change(status, { status: 'active' });
  await everybodySees({ status: 'active' });

  // Whoever knows only done and not done does not unblock a todo, nor move it to another group.
  await v3.change(bread + 3, { group: 'kitchen' });
  await everybodySees({ group: 'kitchen' });
  await v3.change(status, { status: 'blocked' });
  await everybodySees({ status: 'blocked' });
  await v1.change(bread + 1, { title: 'Bake rye bread' });
  await everybodySees({ title: 'Bake rye bread' });
  await v2.change(bread + 2, { title: 'Bake white bread', isImportant: true });
  await everybodySees({ title: 'Bake white bread', isImportant: true });
  await v1.change(bread + 1, { isDone: true });
  await everybodySees({ status: 'done' });
  await v2.change(status, { status: 'rejected' });
  await everybodySees({ status: 'rejected' });
  await v1.change(bread + 1, { isImportant: false, createdAt: '2024-05-01T08:00:00Z' });
  await everybodySees({ isImportant: false, createdAt: '2024-05-01T08:00:00Z' });

  // Fields of a later release travel, or stay where they are known.
  const noted = { schema: 'todo-item-status', version: 1, status: 'blocked', note: 'no flour' };
  await v3.put(status, noted);
  await world.everybodyHolds({ [status]: noted });
  await v1.change(bread + 1, { isDone: true, colour: 'brown' });
  todoIs = { ...todoIs, status: 'done', colour: 'brown' };
  await world.everybodyHolds({ ...todo('bread', todoIs), [status]: { ...noted, status: 'done' } });

  // A status that is deleted counts as active; who then does the todo makes it again.
  await v2.db.remove(await v2.db.get(status));
  await world.everybodyHolds({ ...todo('bread', { ...todoIs, status: 'active' }), [status]: null });
  await v1.change(bread + 1, { isDone: true });
  await everybodySees({ status: 'done' });
});
