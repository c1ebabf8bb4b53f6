// What is attached to a todo in one version is attached in all, whatever edits arrive from other versions.
import { branchesOf, gone, story, todo } from './world.mjs';

const attach = ({ db }, id, name, text) =>
  db.get(id).then(({ _rev }) => db.putAttachment(id, name, _rev, Buffer.from(text), 'text/plain'));
const detach = ({ db }, id, name) => db.get(id).then(({ _rev }) => db.removeAttachment(id, name, _rev));
const status = 'todo-item-status:bread:v:1';
// A todo as each version shows it, and what is attached to it; the first version has what its status has, too.
const attached = (fields, ofTodo, ofStatus = {}) =>
  Object.fromEntries(
    Object.entries(todo('bread', fields)).map(([id, document]) => {
      const isWhole = id === 'todo-item:bread:v:1';
      const attachments = id === status ? ofStatus : isWhole ? { ...ofTodo, ...ofStatus } : ofTodo;
      return [id, { ...document, ...(Object.keys(attachments).length && { attachments }) }];
    }),
  );

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const bread = { title: 'Bake bread' };
  const everybodySees = (ofTodo, ofStatus) => world.everybodyHolds(attached(bread, ofTodo, ofStatus));
  world.online();
  await v1.write('bread', bread);
  await everybodySees({});

  // Each version adds one.
  const recipes = {};
  for (const app of [v1, v2, v3]) {
    recipes[`${app.name}.txt`] = `as ${app.name} has it`;
    await attach(app, app.item('bread'), `${app.name}.txt`, `as ${app.name} has it`);
    await everybodySees(recipes);
  }
  await attach(v3, v3.item('bread'), 'empty.txt', '');
  await everybodySees({ ...recipes, 'empty.txt': '' });
  for (const app of [v1, v2, v3]) {
    bread.title = `Bake ${app.name} loaves`;
    await app.change(app.item('bread'), { title: bread.title });
    await everybodySees({ ...recipes, 'empty.txt': '' });
  }

  // Deleted in the first version, replaced in the last.
  await detach(v1, v1.item('bread'), 'empty.txt');
  await everybodySees(recipes);
  recipes[`${v1.name}.txt`] = 'a better one';
  await attach(v3, v3.item('bread'), `${v1.name}.txt`, 'a better one');
  await everybodySees(recipes);

  // A status has its own, and the first version, which has no status, shows them with the todo.
  await attach(v3, status, 'why.txt', 'no flour');
  await v3.change(status, { status: 'blocked' });
  bread.status = 'blocked';
  await everybodySees(recipes, { 'why.txt': 'no flour' });
  await attach(v1, v1.item('bread'), 'why.txt', 'no yeast');
  await everybodySees({ ...recipes, 'why.txt': 'no yeast' }, { 'why.txt': 'no yeast' });
  await detach(v1, v1.item('bread'), 'why.txt');
  await everybodySees(recipes);

  // Offline edits: each side of the conflict has what its author had.
  await world.offline();
  const [longer, shorter] = [{ ...recipes, 'rye.txt': 'rye' }, { ...recipes }];
  delete shorter[`${v2.name}.txt`];
  await attach(v1, v1.item('bread'), 'rye.txt', 'rye');
  await v1.change(v1.item('bread'), { title: 'Bake rye bread' });
  await v1.change(v1.item('bread'), { isImportant: false });
  await detach(v3, v3.item('bread'), `${v2.name}.txt`);
  await v3.change(v3.item('bread'), { title: 'Bake white bread' });
  world.online();
  const sides = [
    attached({ ...bread, title: 'Bake rye bread', isImportant: false }, longer),
    attached({ ...bread, title: 'Bake white bread' }, shorter),
  ];
  const conflict = Object.fromEntries(Object.keys(sides[0]).map((id) => [id, sides.map((side) => side[id])]));
  await world.everybodyHolds({ ...conflict, [status]: sides[0][status] });

  // A deletion takes them along; a todo made anew begins without.
  for (const { _id, _rev } of await branchesOf(v3.db, v3.item('bread'))) await v3.db.remove(_id, _rev);
  await v3.db.remove(await v3.db.get(status));
  await world.everybodyHolds(gone('bread'));
  await v2.write('bread', { title: 'Bake again' });
  await world.everybodyHolds(todo('bread', { title: 'Bake again' }));

  // What is no todo keeps its own.
  await v2.put('a picture', { of: 'bread' });
  await attach(v2, 'a picture', 'bread.png', 'not really');
  await world.everybodyHolds({ 'a picture': { of: 'bread', attachments: { 'bread.png': 'not really' } } });
});
