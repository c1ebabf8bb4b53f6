// Attachments stay with the document they were put on, whatever edits arrive from other versions.
import { branchesOf, gone, story, todo } from './world.mjs';

const attach = ({ db }, id, name, text) =>
  db.get(id).then(({ _rev }) => db.putAttachment(id, name, _rev, Buffer.from(text), 'text/plain'));
// A todo as each version shows it, and what is attached to some of the documents.
const attached = (documents, attachments) =>
  Object.fromEntries(
    Object.entries(documents).map(([id, document]) => [id, { ...document, ...(attachments[id] && { attachments: attachments[id] }) }]),
  );

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const bread = {};
  const attachments = {};
  // An edit of the title comes last, and shows when everything has arrived: what is attached shows in one document only.
  const everybodySees = async (app, fields) => {
    Object.assign(bread, fields);
    await app.change(app.item('bread'), { title: fields.title });
    await world.everybodyHolds(attached(todo('bread', bread), attachments));
  };
  world.online();
  await v1.write('bread', {});
  await everybodySees(v1, { title: 'Bake bread' });

  for (const app of [v1, v2, v3]) {
    const recipe = `as ${app.name} has it`;
    attachments[app.item('bread')] = { 'recipe.txt': recipe, 'empty.txt': '' };
    await attach(app, app.item('bread'), 'recipe.txt', recipe);
    await attach(app, app.item('bread'), 'empty.txt', '');
    await everybodySees(app, { title: `Bake bread ${recipe}` });
  }
  for (const app of [v1, v2, v3]) await everybodySees(app, { title: `Bake ${app.name} loaves` });

  const status = 'todo-item-status:bread:v:1';
  attachments[status] = { 'why.txt': 'no flour' };
  await attach(v3, status, 'why.txt', 'no flour');
  await v3.change(status, { status: 'blocked' });
  await everybodySees(v3, { title: 'Buy flour', status: 'blocked' });
  await v1.change(v1.item('bread'), { isDone: true });
  await everybodySees(v1, { title: 'Bake rolls', status: 'done' });

  // One that is replaced or taken away is so in its own document alone.
  attachments[v1.item('bread')] = { 'recipe.txt': 'a better one', 'empty.txt': '' };
  await attach(v1, v1.item('bread'), 'recipe.txt', 'a better one');
  await everybodySees(v1, { title: 'Bake better rolls' });
  attachments[v3.item('bread')] = { 'recipe.txt': `as ${v3.name} has it` };
  const { _rev } = await v3.db.get(v3.item('bread'));
  await v3.db.removeAttachment(v3.item('bread'), 'empty.txt', _rev);
  await everybodySees(v3, { title: 'Bake simple rolls' });

  // Offline edits against one that has attachments keep them on both branches.
  await world.offline();
  await v1.change(v1.item('bread'), { title: 'Bake rye bread', isImportant: true });
  await v1.change(v1.item('bread'), { isImportant: false });
  await v3.change(v3.item('bread'), { title: 'Bake white bread' });
  world.online();
  const longer = attached(todo('bread', { title: 'Bake rye bread', isImportant: false, status: 'done' }), attachments);
  const shorter = attached(todo('bread', { title: 'Bake white bread', status: 'done' }), attachments);
  const conflict = Object.fromEntries(Object.keys(longer).map((id) => [id, [longer[id], shorter[id]]]));
  await world.everybodyHolds({ ...conflict, [status]: longer[status] });

  // A deletion takes them along; a todo made anew begins without.
  for (const { _id, _rev } of await branchesOf(v3.db, v3.item('bread'))) await v3.db.remove(_id, _rev);
  await v3.db.remove(await v3.db.get(status));
  await world.everybodyHolds(gone('bread'));
  await v2.write('bread', { title: 'Bake again' });
  await world.everybodyHolds(todo('bread', { title: 'Bake again' }));

  // What is no todo keeps its own too.
  await v2.put('a picture', { of: 'bread' });
  await attach(v2, 'a picture', 'bread.png', 'not really');
  await world.everybodyHolds({ 'a picture': { of: 'bread', attachments: { 'bread.png': 'not really' } } });
});
