// Each version holds what it can use: never an older todo, but newer ones, and all that is no todo.
import assert from 'node:assert/strict';
import { story, todo } from './world.mjs';

const plain = {
  'shopping list': { items: ['flour', 'yeast'] },
  'todo-item': { about: 'no key' },
  'todo-item:bread': { about: 'no version' },
  'todo-item:bread:v:1:x': { about: 'more than a version' },
  'x-todo-item:bread:v:1': { about: 'another schema' },
  'todo-item:bread:v:9': { schema: 'todo-item', version: 9, title: 'a class nobody knows' },
  settings: { schema: 'settings', version: 1, theme: 'dark' },
  '_design/todos': { views: { titles: { map: 'function (doc) { emit(doc.title); }' } } },
};
const todos = {
  ...todo('bread', { title: 'Bake bread' }),
  ...todo('a:v:2', { title: 'Mind the colons', status: 'done' }),
  ...todo('größe/ø+%41 ?', { title: 'Mind the bytes', group: 'odd' }),
  ...todo('line\nfeed', { title: 'Mind the line' }),
};

await story(async (world) => {
  const { v1, v2, v3 } = world;
  world.online();
  const [first, ...others] = Object.entries(plain);
  await v1.put(...first);
  await v2.put(...others.shift());
  for (const document of others) await v3.put(...document);
  await v1.write('bread', { title: 'Bake bread' });
  await v2.write('a:v:2', { title: 'Mind the colons', status: 'done' });
  await v3.write('größe/ø+%41 ?', { title: 'Mind the bytes', group: 'odd' });
  await v1.write('line\nfeed', { title: 'Mind the line' });
  await world.everybodyHolds({ ...plain, ...todos });

  const holds = async (app, versions) => {
    const { rows } = await app.db.allDocs();
    const expected = Object.keys({ ...plain, ...todos }).filter(
      (id) => id in plain || /^todo-item-status/.test(id) || versions.includes(Number(/\d+$/.exec(id)[0])),
    );
    assert.deepEqual(rows.map(({ id }) => id), expected.sort(), `${app.name} holds versions ${versions}`);
  };
  await holds(v1, [1, 2, 3]);
  await holds(v2, [2, 3]);
  await holds(v3, [3]);

  // New devices get all of it at once; deletes reach those who can see them.
  world.device('3.0.0').online();
  world.device('1.2.0').online();
  await world.everybodyHolds({});
  await v1.remove('bread');
  await v3.db.remove(await v3.db.get('shopping list'));
  const gone = Object.keys(todo('bread', {})).concat('shopping list');
  await world.everybodyHolds(Object.fromEntries(gone.map((id) => [id, null])));

  // An app that updates finds its data already there, and what it wrote before still counts.
  await v1.offline();
  await v1.write('tea', { title: 'Make tea' });
  await v1.updateTo('3.0.0');
  assert.equal((await v1.db.get('todo-item:a:v:2:v:3')).title, 'Mind the colons');
  v1.online();
  await v1.write('a:v:2', { title: 'Mind the version' });
  await world.everybodyHolds({ ...todo('tea', { title: 'Make tea' }), ...todo('a:v:2', { title: 'Mind the version' }) });
});
