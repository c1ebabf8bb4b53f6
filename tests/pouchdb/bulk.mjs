// Hundreds of todos and revisions, made offline in several versions, are pushed at once.
import { gone, story, todo } from './world.mjs';

const MANY = 60;

await story(async (world) => {
  const { apps } = world;
  const todos = {};
  const keysOf = ({ name }) => Array.from({ length: MANY }, (_, n) => `${name}:${n}`);
  const everybodySees = () =>
    world.everybodyHolds(Object.assign({}, ...Object.entries(todos).map(([key, fields]) => (fields ? todo(key, fields) : gone(key)))));

  for (const app of apps) {
    for (const key of keysOf(app)) {
      await app.write(key, { title: 'first' });
      for (const title of ['second', 'third', 'fourth']) await app.change(app.item(key), { title });
      todos[key] = { title: 'fourth' };
    }
  }
  world.online();
  await everybodySees();

  // Everybody has been offline for long, and has gone on with what the next one made.
  await world.offline();
  for (const [n, app] of apps.entries()) {
    for (const [m, key] of keysOf(apps[(n + 1) % apps.length]).entries()) {
      for (const title of ['fifth', 'sixth', 'seventh']) await app.change(app.item(key), { title });
      todos[key] = { title: 'seventh' };
      if (m % 3 === 1) {
        await app.remove(key);
        todos[key] = null;
      }
      if (m % 3 === 2) {
        await app.remove(key);
        await app.write(key, { title: 'eighth', status: 'done' });
        todos[key] = { title: 'eighth', status: 'done' };
      }
    }
  }
  world.online();
  await everybodySees();
});
