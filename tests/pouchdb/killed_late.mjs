// A proxy is killed after a fan-out, before the write is answered: its author asks again, and nothing is written twice.
//
// Whoever runs this kills the proxy when it has carried the edit titled `deadly`.
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  const everybodySees = (fields) => world.everybodyHolds(todo('bread', fields));
  world.online();
  await v2.write('bread', { title: 'Bake bread' });
  await everybodySees({ title: 'Bake bread' });
  await v1.change(v1.item('bread'), { title: 'deadly' });
  await everybodySees({ title: 'deadly' });
  await v3.change(v3.item('bread'), { title: 'Bake rye bread' });
  await everybodySees({ title: 'Bake rye bread' });
});
