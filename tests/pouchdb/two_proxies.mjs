// Apps that meet different proxies of one database.
import { story, todo, until } from './world.mjs';

const MANY = 20;

await story(async (world) => {
  const { v1, v2, v3, apps } = world;
  world.device('2.0.0');
  const keys = Array.from({ length: MANY }, (_, n) => `todo ${n}`);
  const everybodySees = (fields) => world.everybodyHolds(Object.assign({}, ...keys.map((key) => todo(key, fields))));
  const inAll = (act) => Promise.all(keys.map(act));
  world.online();

  await inAll((key, n) => apps[n % apps.length].write(key, { title: 'Bake bread' }));
  await everybodySees({ title: 'Bake bread' });
  for (const app of [v3, v2, v1, v2, v3]) {
    await inAll((key) => app.change(app.item(key), { title: `Bake ${app.name} loaves` }));
    await everybodySees({ title: `Bake ${app.name} loaves` });
  }

  // Title and status change at the same time through different proxies. Version 1 has both in one document, which each proxy
  // may have read before the other wrote; whoever looks next sees it, and there is no conflict.
  await inAll((key, n) =>
    Promise.all([
      v2.change(v2.item(key), { title: 'Bake cake' }),
      v3.change(`todo-item-status:${key}:v:1`, { status: n % 2 ? 'done' : 'blocked' }),
    ]),
  );
  await until('both are everywhere', async () => {
    for (const app of [v2, v3]) {
      for (const [n, key] of keys.entries()) {
        await app.shows(app.item(key), { title: 'Bake cake' });
        await app.shows(`todo-item-status:${key}:v:1`, { status: n % 2 ? 'done' : 'blocked' });
      }
    }
  });
  await inAll((key) => v3.change(v3.item(key), { isImportant: true }));
  await world.everybodyHolds(
    Object.assign({}, ...keys.map((key, n) => todo(key, { title: 'Bake cake', isImportant: true, status: n % 2 ? 'done' : 'blocked' }))),
  );
});
