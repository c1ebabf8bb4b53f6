// A proxy is killed between a write and its fan-out: the one that takes its place finds what was left, and what no proxy saw, and nobody has to
// write again.
//
// Whoever runs this kills the proxy when it first carries the edit titled `deadly`.
import { story, todo } from './world.mjs';

await story(async (world) => {
  const { v1, couch } = world;
  world.online();
  await v1.write('bread', { title: 'Bake bread' });
  await world.everybodyHolds(todo('bread', { title: 'Bake bread' }));

  await v1.change(v1.item('bread'), { title: 'deadly' });
  await world.everybodyHolds(todo('bread', { title: 'deadly' }));

  await couch.put({ ...(await couch.get(v1.item('bread'))), isDone: true });
  await world.everybodyHolds(todo('bread', { title: 'deadly', status: 'done' }));
});
