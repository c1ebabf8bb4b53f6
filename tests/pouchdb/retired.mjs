// A phone whose version was retired while it was offline: what it wrote still arrives, and it learns to which version to update.
import assert from 'node:assert/strict';
import { PouchDB } from './clients.mjs';

const [, , proxy] = process.argv;
const name = `retired-${process.pid}-${Date.now()}`;
const server = (version) =>
  new PouchDB(`${proxy}/${name}`, {
    fetch(url, options) {
      if (version) options.headers.set('App-Version', `todo-app@${version}`);
      return PouchDB.fetch(url, options);
    },
  });
const admin = server();
await admin.info();
try {
  const phone = new PouchDB('phone', { adapter: 'memory' });
  await phone.put({ _id: 'todo-item:oil:v:1', schema: 'todo-item', version: 1, title: 'Buy oil', isDone: false });
  const pushed = await phone.replicate.to(server('1.2.0'));
  assert.equal(pushed.docs_written, 1);
  assert.equal((await admin.get('todo-item:oil:v:3')).title, 'Buy oil');
  // Once more from where it was.
  await phone.put({ ...(await phone.get('todo-item:oil:v:1')), title: 'Buy olive oil' });
  assert.equal((await phone.replicate.to(server('1.2.0'))).docs_written, 1);
  assert.equal((await admin.get('todo-item:oil:v:3')).title, 'Buy olive oil');

  const refused = await phone.replicate.from(server('1.2.0')).then(
    () => assert.fail('a retired version has replicated'),
    (error) => error,
  );
  assert.equal(refused.status, 426);
  assert.equal(refused.error, 'app_version_retired');
  assert.equal(refused.minimum, '2.0.0');

  // Updated, it goes on with what it has.
  await phone.replicate.from(server('2.0.0'));
  assert.equal((await phone.get('todo-item:oil:v:2')).title, 'Buy olive oil');
} finally {
  await admin.destroy();
}
process.exit();
