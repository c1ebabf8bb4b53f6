// Edits, deletes and re-creations travel from every version to every other.
import { gone, story, todo } from './world.mjs';

await story(async (world) => {
  // One todo for every way from one version to another.
  const ways = world.apps.flatMap((one) => world.apps.map((other) => ({ one, other, key: `${one.name}:${other.name}` })));
  const inAllWays = (act) => Promise.all(ways.map(act));
  const everybodySees = (fields) => world.everybodyHolds(Object.assign({}, ...ways.map(({ key }) => todo(key, fields))));
  const nobodySeesAny = () => world.everybodyHolds(Object.assign({}, ...ways.map(({ key }) => gone(key))));
  const rename = (app, key, title) => app.change(app.item(key), { title });
  world.online();

  await inAllWays(({ one, key }) => one.write(key, { title: 'Bake bread' }));
  await everybodySees({ title: 'Bake bread' });
  await inAllWays(({ other, key }) => rename(other, key, 'Bake rye bread'));
  await everybodySees({ title: 'Bake rye bread' });
  await inAllWays(({ one, key }) => rename(one, key, 'Bake white bread'));
  await everybodySees({ title: 'Bake white bread' });

  await inAllWays(({ other, key }) => other.remove(key));
  await nobodySeesAny();
  await inAllWays(({ one, key }) => one.write(key, { title: 'Bake more bread' }));
  await everybodySees({ title: 'Bake more bread' });
  await inAllWays(({ other, key }) => rename(other, key, 'Bake less bread'));
  await everybodySees({ title: 'Bake less bread' });

  // Deleted and made again by the same app, while the others look away.
  await world.offline();
  for (const { one, key } of ways) {
    await one.remove(key);
    await one.write(key, { title: 'Buy bread', status: 'done' });
  }
  world.online();
  await everybodySees({ title: 'Buy bread', status: 'done' });
  await inAllWays(({ other, key }) => rename(other, key, 'Buy rye bread'));
  await everybodySees({ title: 'Buy rye bread', status: 'done' });
  await inAllWays(({ one, key }) => one.remove(key));
  await nobodySeesAny();
});
